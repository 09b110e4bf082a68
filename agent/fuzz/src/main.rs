//! One target of `agent::hostile`, named by `TCPWHY_FUZZ_TARGET`, under libFuzzer.

#![no_main]

use std::sync::LazyLock;

use agent::hostile::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let wanted = std::env::var("TCPWHY_FUZZ_TARGET").unwrap_or_default();
    let target = TARGETS.into_iter().find(|(name, _)| *name == wanted);
    target.unwrap_or_else(|| panic!("TCPWHY_FUZZ_TARGET is none of {:?}", TARGETS.map(|(name, _)| name))).1
});

fuzz_target!(|bytes: &[u8]| TARGET(bytes));
