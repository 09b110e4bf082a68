//! Forks and ends of processes, as the kernel counts them.

use agent::event::{Event, Fact, ForkCount, ProcessRow};
use tests::link::Family;
use tests::live::{Silent, insist};
use tests::scenes::family::Forking;
use tests::skip::skip;

use crate::watch::{self, watch};

/// What a walk tells of a process.
fn row(pid: u32) -> ProcessRow {
    let rows = watch().walk_events().into_iter().filter_map(|event| match event {
        Event::Fact(Fact::Processes { rows, .. }) => Some(rows),
        _ => None,
    });
    rows.flatten().find(|row| row.pid == pid).expect("a walk names who listens")
}

#[test]
fn forks_and_ends_of_children_are_counted() {
    if !watch().has("sock_held") {
        return skip("forks_and_ends_of_children_are_counted", "no bpf_sock_from_file before 5.11");
    }
    insist(count_children);
}

/// While a program that the kernel preempted waits, no other task of its processor runs that program.
fn count_children() -> Result<(), Silent> {
    let pair = watch::pair();
    let mut server = Forking::start(&pair, Family::V4);
    server.serve(&pair, 12);
    let ProcessRow { forks, nofile, .. } = row(server.pid());
    let ForkCount { forked, exited } = forks.expect("the programs run");
    assert_eq!((forked, exited), (12, 0));
    assert!(nofile.is_some());
    server.hang_up(5);
    let forks = row(server.pid()).forks.expect("they still run");
    assert!(forks.forked == 12 && forks.exited <= 5, "{forks:?}");
    if forks.exited == 5 { Ok(()) } else { Err(Silent) }
}
