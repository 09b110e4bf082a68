//! Empty on purpose: the programs are in `main.rs`, built for `bpf*-unknown-none` by `agent/source/build.rs`.
#![no_std]
