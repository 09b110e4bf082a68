//! Every program, and what the kernel made of it.

use std::env;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;

use agent::export::metrics::Counters as _;
use agent::source::kernel::probes::{PROBES, ProbeState};
use tests::skip::skip;

use crate::running;
use crate::watch::watch;

/// The verifier gives up at this many (`BPF_COMPLEXITY_LIMIT_INSNS`).
const MOST_INSTRUCTIONS: u64 = 1_000_000;

#[test]
fn every_program_loads() {
    let counters = watch().counters();
    let bad: Vec<_> =
        counters.probes.iter().filter(|status| status.state != expected(status.probe.name)).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(counters.probes.len(), PROBES.len());
    drop(counters);
    tell();
}

/// `bpf_sock_from_file` came with 5.11; every other hook is older than the oldest kernel we claim.
fn expected(probe: &str) -> ProbeState {
    if probe == "sock_held" && !running::since(5, 11) { ProbeState::Missing } else { ProbeState::Up }
}

#[test]
fn the_verifier_has_room_to_spare() {
    for program in watch().counters().programs().expect("read the programs' cost") {
        let (name, count) = (program.name, program.instructions);
        assert!(count < MOST_INSTRUCTIONS / 2, "{name}: {count} of {MOST_INSTRUCTIONS}");
    }
}

/// For docs/kernels.md (`xtask/src/vm/facts.rs`).
fn tell() {
    let Some(path) = env::var_os("TCPWHY_FACTS") else { return };
    let counters = watch().counters();
    let mut lines = String::new();
    for program in counters.programs().expect("read the programs' cost") {
        writeln!(lines, "program {} {}", program.name, program.instructions).expect("write a line");
    }
    for lost in &counters.lost {
        writeln!(lines, "lost {}", lost.what).expect("write a line");
    }
    let file = OpenOptions::new().append(true).open(path);
    file.and_then(|mut file| file.write_all(lines.as_bytes())).expect("append to TCPWHY_FACTS");
}

#[test]
fn hz_is_the_kernels() {
    match running::hz() {
        Some(hz) => assert_eq!(watch().host().hz, hz),
        None => skip("hz_is_the_kernels", "neither TCPWHY_HZ nor /boot has this kernel's CONFIG_HZ"),
    }
}
