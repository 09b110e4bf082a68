use agent_common::{owner, signal};
use agent_model::event::{Fact, ForkCount, ProcessRow};
use agent_model::fixture::{RecordBytes, put};

use super::{Counts, Kinship, ProcessFamily};
use crate::tests::{Bench, SECOND};

const LISTEN: u8 = 10;
const SERVER: &str = "192.0.2.1:80";
const MIB: u32 = 1 << 20;

/// A socket of `sk`, held by a process and its parent.
fn held(sk: u64, local: &str, pid: u32, parent: u32) -> RecordBytes {
    let record = RecordBytes::tcp(signal::SOCK_HELD, SECOND).socket(sk, sk).ends(local, "198.51.100.1:9999");
    record.held(pid, if parent == 1 { "httpd" } else { "child" }, parent, 4)
}

fn listener(sk: u64, local: &str, pid: u32, parent: u32) -> RecordBytes {
    held(sk, local, pid, parent).state(LISTEN)
}

fn with_memory(mut record: RecordBytes, rmem: u32, wmem: u32, ahead: i32) -> RecordBytes {
    put!(record, tcp.rmem_alloc, rmem);
    put!(record, tcp.wmem_queued, wmem);
    put!(record, tcp.forward_alloc, ahead);
    record
}

fn walk(bench: &mut Bench, records: &[RecordBytes], time: u64) {
    for record in records {
        bench.push(record);
    }
    bench.fact(&Fact::WalkDone { time });
}

fn families(bench: &Bench) -> Vec<&ProcessFamily> {
    bench.0.families().iter().collect()
}

/// A server with pid 100 and `children` children, each with a connection of 1 MiB; all hold the listener.
fn forking(children: u32) -> Vec<RecordBytes> {
    let mut records = vec![listener(1, "0.0.0.0:80", 100, 1)];
    for pid in 101..101 + children {
        records.push(listener(1, "0.0.0.0:80", pid, 100));
        records.push(with_memory(
            held(u64::from(pid), SERVER, pid, 100),
            MIB / 2,
            MIB / 4,
            (MIB / 4).cast_signed(),
        ));
    }
    records
}

#[test]
fn a_child_for_each_connection_is_recognised() {
    let mut bench = Bench::new();
    let mut records = forking(500);
    // Children come before their parent in the walk where process ids have wrapped around.
    records.reverse();
    for record in &records {
        bench.push(record);
    }
    let forks = ForkCount { forked: 700, exited: 200 };
    let row = ProcessRow { pid: 100, forks: Some(forks), nofile: Some(1024), nproc: None, pids: None };
    bench.fact(&Fact::Processes { time: SECOND, rows: vec![row], uncounted: 0 });
    bench.fact(&Fact::WalkDone { time: SECOND });
    let all = families(&bench);
    let [family] = all[..] else { panic!("{all:?}") };
    assert_eq!((family.root.pid, &*family.root.comm), (100, "httpd"));
    let counts = Counts {
        sockets: 501,
        accepted: 500,
        shared: 1,
        children: 500,
        children_with_one: 500,
        others: 0,
        most_held: 2,
    };
    assert_eq!(family.counts, counts);
    assert_eq!((family.memory, family.memory_each()), (500 * u64::from(MIB), MIB.into()));
    assert_eq!((family.forks, family.nofile), (Some(forks), Some(1024)));
    assert!(family.forks_per_connection());
    assert_eq!((family.members.len(), family.members[0].kinship), (16, Kinship::Root));
    assert_eq!(bench.0.families().of(600).map(|family| family.root.pid), Some(100));
}

#[test]
fn workers_that_serve_many_are_children_but_not_one_a_connection() {
    let mut bench = Bench::new();
    let mut records = vec![listener(1, "0.0.0.0:80", 100, 1), listener(1, "0.0.0.0:80", 101, 100)];
    records.extend((2..10).map(|sk| held(sk, SERVER, 101, 100)));
    walk(&mut bench, &records, SECOND);
    let all = families(&bench);
    assert_eq!((all.len(), all[0].counts.children, all[0].counts.accepted), (1, 1, 8));
    assert!(!all[0].forks_per_connection());
}

#[test]
fn a_socket_that_was_passed_has_two_holders_and_no_child() {
    let mut bench = Bench::new();
    let records = [
        listener(1, "0.0.0.0:80", 100, 1),
        with_memory(held(2, SERVER, 100, 1), 1000, 0, 0),
        with_memory(held(2, SERVER, 200, 1), 1000, 0, 0),
    ];
    walk(&mut bench, &records, SECOND);
    let all = families(&bench);
    let [family] = all[..] else { panic!("{all:?}") };
    let Counts { children, others, shared, sockets, .. } = family.counts;
    assert_eq!((children, others, shared, sockets), (0, 1, 1, 2));
    assert_eq!(family.memory, 1000, "one socket is one socket");
    assert_eq!(family.members[1].kinship, Kinship::Other);
    assert!(!family.forks_per_connection());
}

#[test]
fn who_called_listen_is_the_root_though_a_stranger_holds_the_listener() {
    let mut bench = Bench::new();
    let called = |pid| listener(1, "0.0.0.0:80", pid, 1).owner(300, "httpd", owner::LISTEN);
    walk(&mut bench, &[called(200), called(300)], SECOND);
    assert_eq!(families(&bench)[0].root.pid, 300);
}

#[test]
fn two_servers_on_one_port_are_two_families() {
    let mut bench = Bench::new();
    let records = [
        listener(1, "192.0.2.1:80", 100, 1),
        listener(2, "192.0.2.2:80", 200, 1),
        held(3, "192.0.2.2:80", 201, 200),
        // SO_REUSEPORT: the connection belongs to the listener of the process that holds it.
        listener(4, "192.0.2.1:80", 300, 1),
        held(5, "192.0.2.1:80", 300, 1),
    ];
    walk(&mut bench, &records, SECOND);
    let accepted = |pid| bench.0.families().of(pid).unwrap().counts.accepted;
    assert_eq!((accepted(100), accepted(200), accepted(201), accepted(300)), (0, 1, 1, 1));
}

#[test]
fn who_only_connects_is_a_family_of_one_behind_those_with_more_memory() {
    let mut bench = Bench::new();
    let client = with_memory(held(2, "192.0.2.1:40000", 50, 1), 10, 0, -5);
    walk(&mut bench, &[client, with_memory(listener(1, SERVER, 100, 1), 20, 0, 0)], SECOND);
    let all: Vec<_> = families(&bench).iter().map(|family| (family.root.pid, family.memory)).collect();
    assert_eq!(all, [(100, 20), (50, 10)]);
    assert_eq!(families(&bench)[1].connections(), 1);
}

#[test]
fn a_family_grows_from_walk_to_walk_and_ends_with_its_sockets() {
    let mut bench = Bench::new();
    walk(&mut bench, &forking(100), SECOND);
    walk(&mut bench, &forking(150), 11 * SECOND);
    assert_eq!(families(&bench)[0].growth.rate(), Some(5.0));
    assert_eq!(families(&bench)[0].growth.peak_connections, 150);
    walk(&mut bench, &[], 12 * SECOND);
    assert!(families(&bench).is_empty());
}
