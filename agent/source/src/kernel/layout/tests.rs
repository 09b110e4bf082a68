//! The fields of kernels whose BTF is stored in tests/data/btf, cut down to what the agent asks. Those of
//! other machines are there too, which no test run can boot.
//!
//! `cargo xtask generate btf` stores them: it names a folder of whole ones in `TCPWHY_STORE_BTF`, each as a machine's
//! /sys/kernel/btf/vmlinux has it and called `ARCH-RELEASE.btf`.

use std::fs;
use std::path::{Path, PathBuf};

use agent_model::golden;

use super::super::btf::prune::{Wanted, prune};
use super::super::probes::{Hook, PROBES, exists};
use super::*;

/// A stored kernel.
struct Stored {
    name: String,
    version: (u32, u32),
    blob: Vec<u8>,
}

/// From the project's root.
const FOLDER: &str = "agent/source/tests/data/btf";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(FOLDER)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "btf"));
    files.sort();
    files
}

fn stored() -> Vec<Stored> {
    let stored: Vec<_> = files(&folder()).iter().map(|file| read(file)).collect();
    assert!(!stored.is_empty());
    stored
}

fn read(file: &Path) -> Stored {
    let name = file.file_stem().unwrap().to_string_lossy().into_owned();
    let (_, release) = name.split_once('-').unwrap();
    let mut numbers = release.split('.').map(|number| number.parse().unwrap_or(0));
    let version = (numbers.next().unwrap(), numbers.next().unwrap());
    Stored { version, blob: fs::read(file).unwrap(), name }
}

fn wanted() -> Wanted<'static> {
    let mut wanted = Wanted::default();
    for field in OFFSETS.iter().chain(BITS) {
        wanted.members.entry(field.base).or_default().insert(field.path);
    }
    wanted.enums.insert("bpf_func_id", ["BPF_FUNC_sock_from_file"].into());
    wanted.enums.insert("bpf_map_type", ["BPF_MAP_TYPE_RINGBUF"].into());
    wanted.enums.insert("sk_rst_reason", [].into());
    wanted.enums.insert("skb_drop_reason", [].into());
    wanted.functions.insert("bpf_get_socket_ptr_cookie");
    wanted.functions.extend(PROBES.iter().filter_map(|probe| function(probe.hook)));
    wanted.tracepoints = PROBES.iter().filter_map(|probe| tracepoint(probe.hook)).collect();
    wanted
}

fn tracepoint(hook: Hook) -> Option<&'static str> {
    if let Hook::Tracepoint(name) = hook { Some(name) } else { None }
}

fn function(hook: Hook) -> Option<&'static str> {
    if let Hook::Function(name) = hook { Some(name) } else { None }
}

/// Of those that are to be stored, else of the stored ones, which have nothing to lose any more.
#[test]
fn cutting_down_loses_nothing_that_the_agent_asks() {
    let whole = std::env::var_os("TCPWHY_STORE_BTF").map_or_else(folder, PathBuf::from);
    for file in files(&whole) {
        let blob = fs::read(&file).unwrap();
        let whole = Btf::parse(&blob).unwrap();
        let pruned = prune(&whole, &wanted());
        assert_eq!(resolve(&Btf::parse(&pruned).unwrap()), resolve(&whole), "{}", file.display());
        let name = file.file_name().unwrap().to_string_lossy();
        golden::write(&format!("{FOLDER}/{name}"), &pruned);
    }
}

#[test]
fn every_stored_kernel_has_what_is_required() {
    for Stored { name, blob, .. } in stored() {
        resolve(&Btf::parse(&blob).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// Fields and the kernel that they came with.
#[test]
fn what_came_later_is_absent_before() {
    let later: [(&str, (u32, u32)); 4] = [
        ("net_syn_linear_timeouts", (6, 5)),
        ("tcp_total_rto", (6, 7)),
        ("icsk_rto_max", (6, 15)),
        ("sk_retransmit_expires", (7, 1)),
    ];
    for Stored { name, version, blob } in stored() {
        let mut kernel = resolve(&Btf::parse(&blob).unwrap()).unwrap();
        let Kernel { retransmit_err, reset_reason, socket_cookie, drop_socket, .. } = kernel;
        let flags = [
            (retransmit_err, (6, 17)),
            (reset_reason, (6, 10)),
            (socket_cookie, (5, 12)),
            (drop_socket, (6, 11)),
        ];
        for (is_there, since) in flags {
            assert_eq!(is_there == 1, version >= since, "{name}: of {since:?}");
        }
        for mask in [kernel.drop_memory, kernel.drop_noise, [kernel.drop_unspecified.into(); 6]] {
            let known = mask.iter().map(|word| word.count_ones()).sum::<u32>();
            assert_eq!(known > 0, version >= (5, 17), "{name}: {known} reasons of drops");
        }
        for (field, since) in later {
            let offset = *kernel.layout.offset_mut(field).unwrap();
            assert_eq!(offset != ABSENT, version >= since, "{name}: {field}");
        }
    }
}

/// Each kernel keeps the two timers in one of the places that are known.
#[test]
fn timers_are_found_in_every_kernel() {
    for Stored { name, blob, .. } in stored() {
        let layout = resolve(&Btf::parse(&blob).unwrap()).unwrap().layout;
        let retransmit = [layout.icsk_timeout, layout.icsk_retransmit_expires, layout.sk_retransmit_expires];
        let keepalive = [layout.sk_timer_expires, layout.icsk_keepalive_expires];
        assert!(retransmit.iter().any(|&at| at != ABSENT), "{name}");
        assert!(keepalive.iter().any(|&at| at != ABSENT), "{name}");
    }
}

#[test]
fn probes_are_there_since_the_release_that_the_table_names() {
    for Stored { name, version, blob } in stored() {
        let btf = Btf::parse(&blob).unwrap();
        for probe in PROBES {
            let (major, minor) = probe.since.split_once('.').unwrap();
            let since = (major.parse().unwrap(), minor.parse().unwrap());
            assert_eq!(exists(probe.hook, &btf), version >= since, "{name}: {}", probe.name);
        }
    }
}

/// `num_timeout:7` comes after `syncookie:1`: above it on a little-endian machine, below it on a big-endian one.
#[test]
fn bits_and_low_bytes_follow_the_byte_order() {
    let mut orders = Vec::new();
    for Stored { name, blob, .. } in stored() {
        let btf = Btf::parse(&blob).unwrap();
        let layout = resolve(&btf).unwrap().layout;
        let (shift, low_byte) = match btf.order() {
            ByteOrder::Little => (1, 0),
            ByteOrder::Big => (0, 1),
        };
        assert_eq!((layout.req_num_timeout.shift, layout.req_num_timeout.width), (shift, 7), "{name}");
        let flags = btf.member("tcp_skb_cb", "tcp_flags").unwrap();
        let wide = u16::try_from(flags.size.unwrap() - 1).unwrap();
        assert_eq!(
            u32::from(layout.cb_tcp_flags),
            flags.bit_offset / 8 + u32::from(low_byte * wide),
            "{name}"
        );
        orders.push(btf.order());
    }
    assert!(orders.contains(&ByteOrder::Little) && orders.contains(&ByteOrder::Big));
}

/// `u16 tcp_flags` of 6.15 and later, `int` settings before 5.13.
#[test]
fn a_low_byte_is_the_last_of_a_big_endian_word() {
    let field = OFFSETS.iter().find(|field| field.name == "cb_tcp_flags").unwrap();
    let other = OFFSETS.iter().find(|field| field.name == "skb_len").unwrap();
    let member = Member { bit_offset: 64, bit_size: 0, size: Some(4) };
    assert_eq!(whole_bytes(member, field, ByteOrder::Little), Some(8));
    assert_eq!(whole_bytes(member, field, ByteOrder::Big), Some(11));
    assert_eq!(whole_bytes(member, other, ByteOrder::Big), Some(8));
}
