//! Every program, and what the kernel made of it.

use std::env;
use std::fs::OpenOptions;
use std::io::Write as _;

use agent_model::counters::Counters as _;
use agent_source::kernel::probes::{Hook, PROBES, Probe, ProbeState, ProbeStatus};

use tests::skip::skip;

use crate::costs;
use crate::costs::Change;
use crate::running;
use crate::watch::watch;

/// What each program cost when it was last accepted.
const KERNELS: &str = include_str!("../../../docs/kernels.md");

/// The verifier gives up at this many (`BPF_COMPLEXITY_LIMIT_INSNS`).
const MOST_INSTRUCTIONS: u64 = 1_000_000;

#[test]
fn every_program_loads() {
    let counters = watch().counters();
    let is_bad = |status: &&ProbeStatus| status.state != expected(status.probe);
    let (refused, bad): (Vec<_>, Vec<_>) = counters.probes.iter().filter(is_bad).partition(|status| {
        matches!(status.probe.hook, Hook::Function(_)) && status.state == ProbeState::NotPermitted
    });
    for status in refused {
        skip("every_program_loads", &format!("this kernel lets nobody sit on {}", status.probe.hook));
    }
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(counters.probes.len(), PROBES.len());
    drop(counters);
    print();
}

/// `bpf_sock_from_file` and the packet of `tcp_reset` came with 5.11, reasons of drops with 5.17; every other hook is older than the oldest
/// kernel we claim.
fn expected(probe: &Probe) -> ProbeState {
    let (major, minor) = probe.since.split_once('.').expect("a release has two numbers");
    let number = |text: &str| text.parse().expect("a release has numbers");
    if running::since(number(major), number(minor)) { ProbeState::Up } else { ProbeState::Missing }
}

#[test]
fn the_verifier_has_room_to_spare() {
    for program in watch().counters().programs().expect("read the programs' cost") {
        let (name, count) = (program.name, program.instructions);
        assert!(count < MOST_INSTRUCTIONS / 2, "{name}: {count} of {MOST_INSTRUCTIONS}");
    }
}

/// Against the column of this kernel's line in docs/kernels.md, where it has one.
#[test]
fn the_verifier_works_no_harder_than_it_did() {
    let test = "the_verifier_works_no_harder_than_it_did";
    let line = running::line();
    let Some(stored) = costs::of_line(KERNELS, &line) else {
        return skip(test, &format!("docs/kernels.md has no column for {line}"));
    };
    let programs = watch().counters().programs().expect("read the programs' cost");
    let changes: Vec<_> = programs
        .iter()
        .filter_map(|program| {
            let before = *stored.get(&*program.name)?;
            let is_known = before != 0 && program.instructions != 0 && before != program.instructions;
            is_known.then(|| Change { program: program.name.to_string(), before, now: program.instructions })
        })
        .collect();
    facts(changes.iter().map(Change::fact));
    let jumps: Vec<_> = changes.iter().filter(|change| change.is_jump()).map(Change::words).collect();
    assert!(
        jumps.is_empty() || env::var_os("TCPWHY_ACCEPT_COST").is_some(),
        "on {line}: {}: if that is meant, `cargo xtask vm --write-docs` accepts it",
        jumps.join("; ")
    );
}

/// For docs/kernels.md.
fn print() {
    let counters = watch().counters();
    let programs = counters.programs().expect("read the programs' cost");
    let programs =
        programs.iter().map(|program| format!("program {} {}", program.name, program.instructions));
    let lost = counters.lost.iter().map(|lost| format!("lost {}", lost.what));
    facts(programs.chain(lost));
}

/// Tells `cargo xtask vm` (`xtask/src/vm/facts.rs`).
fn facts(lines: impl Iterator<Item = String>) {
    let Some(path) = env::var_os("TCPWHY_FACTS") else { return };
    let text: String = lines.map(|line| line + "\n").collect();
    let file = OpenOptions::new().append(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).expect("append to TCPWHY_FACTS");
}

#[test]
fn hz_is_the_kernels() {
    match running::hz() {
        Some(hz) => assert_eq!(watch().host().hz, hz),
        None => skip("hz_is_the_kernels", "neither this kernel nor /boot has its CONFIG_HZ"),
    }
}
