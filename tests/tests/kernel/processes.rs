//! Forks and ends of processes, as the kernel counts them.

use std::fs;

use agent_model::event::{Event, Fact, ForkCount, ProcessRow};
use tests::link::Family;
use tests::scenes::family::Forking;
use tests::skip::skip;

use crate::watch::{self, watch};

/// What a walk shows of a process.
fn row(pid: u32) -> ProcessRow {
    let rows = watch().walk_events().into_iter().filter_map(|event| {
        if let Event::Fact(Fact::Processes { rows, .. }) = event { Some(rows) } else { None }
    });
    rows.flatten().find(|row| row.pid == pid).expect("a walk names who listens")
}

/// Events for which the kernel did not run a program of this process (`bpf_prog_show_fdinfo`).
fn misses() -> u64 {
    let files = fs::read_dir("/proc/self/fdinfo").expect("list this process's files").flatten();
    // Other tests close some meanwhile.
    let texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
    let of = |text: String| {
        text.lines().find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse::<u64>().ok())
    };
    texts.filter_map(of).sum::<u64>()
}

#[test]
fn forks_and_ends_of_children_are_counted() {
    if !watch().has("sock_held") {
        return skip("forks_and_ends_of_children_are_counted", "no bpf_sock_from_file before 5.11");
    }
    let (pair, missed) = (watch::pair(), misses());
    let mut server = Forking::start(&pair, Family::V4);
    server.serve(&pair, 12);
    let ProcessRow { forks, nofile, .. } = row(server.pid());
    let before = forks.expect("the programs run");
    assert!(before.forked <= 12 && before.exited == 0, "{before:?}");
    assert!(nofile.is_some());
    server.hang_up(5);
    let ForkCount { forked, exited } = row(server.pid()).forks.expect("they still run");
    assert!(forked == before.forked && exited <= 5, "{forked} and {exited} after {before:?}");
    if (forked, exited) == (12, 5) {
        return;
    }
    // While a program that the kernel preempted waits, no other task of its processor runs that program.
    assert!(misses() > missed, "{forked} forked and {exited} ended, and the kernel missed nothing");
    skip("forks_and_ends_of_children_are_counted", "the kernel missed a run of a program, and says so");
}
