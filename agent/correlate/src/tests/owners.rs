use super::*;

fn held(time: u64) -> RecordBytes {
    record(signal::SOCK_HELD, time)
}

fn listener_held(time: u64, pid: u32) -> RecordBytes {
    let record = RecordBytes::tcp(signal::SOCK_HELD, time).socket(0x1000, 7);
    record.ends("0.0.0.0:40000", "0.0.0.0:0").state(LISTEN).held(pid, "httpd", 1, 4)
}

fn owner_of(bench: &Bench) -> (u32, OwnerSource) {
    let owner = bench.only().owner.as_ref().unwrap();
    (owner.process.pid, owner.source)
}

#[test]
fn better_sources_win() {
    let mut bench = Bench::new();
    bench.push(&listener_held(1, 10));
    bench.push(&timeout(SECOND, 1, 51));
    assert_eq!(owner_of(&bench), (10, OwnerSource::Listener));
    assert!(bench.only().accepted);
    bench.push(&held(2 * SECOND).held(11, "worker", 10, 9));
    assert_eq!(owner_of(&bench), (11, OwnerSource::File));
    bench.push(&timeout(3 * SECOND, 2, 51).flags(OWNED).current(12, "worker"));
    assert_eq!(owner_of(&bench), (12, OwnerSource::Lock));
    bench.push(&timeout(4 * SECOND, 3, 51).owner(13, "curl", owner::CONNECT));
    assert_eq!(owner_of(&bench), (13, OwnerSource::Connect));
    bench.push(&timeout(5 * SECOND, 4, 51).flags(OWNED).current(12, "worker"));
    assert_eq!(owner_of(&bench), (13, OwnerSource::Connect));
    assert!(!bench.only().accepted, "who called connect() was not accepted");
}

#[test]
fn a_walk_is_wanted_until_one_has_looked() {
    let mut bench = Bench::new();
    let fast = |time| timeout(time, 0, 51).retransmit(retransmit::FAST);
    assert!(!bench.0.wants_walk(SECOND));
    bench.push(&fast(SECOND));
    assert!(bench.0.wants_walk(SECOND));
    bench.fact(&Fact::WalkDone { time: 2 * SECOND });
    assert!(!bench.0.wants_walk(3 * SECOND));
    bench.push(&fast(4 * SECOND));
    assert!(bench.0.wants_walk(4 * SECOND));
    bench.push(&held(5 * SECOND).held(11, "worker", 10, 9));
    bench.fact(&Fact::WalkDone { time: 6 * SECOND });
    bench.push(&fast(7 * SECOND));
    assert!(!bench.0.wants_walk(8 * SECOND));
}

#[test]
fn an_event_during_a_walk_wants_the_next_one() {
    let mut bench = Bench::new();
    bench.push(&held(SECOND).held(11, "other", 10, 9).socket(1, 1));
    bench.push(&timeout(2 * SECOND, 1, 51));
    bench.fact(&Fact::WalkDone { time: 3 * SECOND });
    assert!(bench.0.wants_walk(3 * SECOND), "the walk had passed its process");
}

#[test]
fn a_walk_still_finds_the_owner_of_a_connection_that_was_reset() {
    let mut bench = Bench::new();
    bench.push(&record(signal::RESET_RECEIVED, SECOND));
    assert!(bench.0.wants_walk(SECOND));
    bench.push(&held(2 * SECOND).held(11, "worker", 10, 9).state(CLOSE));
    bench.fact(&Fact::WalkDone { time: 3 * SECOND });
    assert_eq!(owner_of(&bench), (11, OwnerSource::File));
    assert!(bench.only().gone);
}

#[test]
fn holders_come_and_go_and_the_dead_keep_their_name() {
    let mut bench = Bench::new();
    bench.push(&timeout(SECOND, 1, 51));
    bench.push(&held(2 * SECOND).held(11, "parent", 1, 9));
    bench.push(&held(2 * SECOND).held(12, "child", 11, 9));
    bench.push(&held(2 * SECOND).held(12, "child", 11, 5));
    bench.fact(&Fact::WalkDone { time: 2 * SECOND });
    let holders: Vec<_> = bench.only().holders.named().iter().map(|one| (one.process.pid, one.fd)).collect();
    assert_eq!(holders, [(11, 9), (12, 5)]);
    bench.push(&held(3 * SECOND).held(12, "child", 11, 5));
    bench.fact(&Fact::WalkDone { time: 3 * SECOND });
    assert_eq!(owner_of(&bench), (12, OwnerSource::File));
    bench.fact(&Fact::WalkDone { time: 4 * SECOND });
    assert!(bench.only().holders.named().is_empty());
    assert_eq!(owner_of(&bench), (12, OwnerSource::File));
}

#[test]
fn a_forking_server_has_more_holders_than_names() {
    let mut bench = Bench::new();
    for pid in 1..=1000 {
        bench.push(&listener_held(1, pid));
    }
    let count = |bench: &Bench| {
        let listener = bench.0.listeners().next().unwrap();
        (listener.holders.named().len(), listener.holders.more())
    };
    assert_eq!(count(&bench), (16, 984));
    bench.fact(&Fact::WalkDone { time: 2 });
    assert_eq!(count(&bench), (16, 984));
    bench.fact(&Fact::WalkDone { time: 3 });
    assert_eq!(bench.0.sizes().listeners, 0, "no open file refers to it");
}

#[test]
fn healthy_sockets_cost_nothing() {
    let mut bench = Bench::new();
    bench.push(&held(1).held(11, "idle", 1, 3));
    assert_eq!(bench.0.connections().count(), 0);
    let mut probing = held(2).held(11, "probing", 1, 3);
    put!(probing, tcp.probes_out, 2_u8);
    bench.push(&probing);
    assert_eq!(owner_of(&bench), (11, OwnerSource::File));
    assert_eq!(bench.0.stalled().count(), 1);
}

#[test]
fn found_by_process_address_and_port() {
    let mut bench = Bench::new();
    bench.push(&timeout(SECOND, 1, 51).owner(5, "curl", owner::CONNECT));
    let found = |selector: Selector| bench.0.select(&[selector]).len();
    assert_eq!(found(Selector::Pid(5)), 1);
    assert_eq!(found(Selector::Comm("curl".into())), 1);
    assert_eq!(found(Selector::Address("10.0.0.2".parse().unwrap())), 1);
    assert_eq!(found(Selector::Port(40000)), 1);
    assert_eq!(found(Selector::Id(bench.only().id)), 1);
    assert_eq!(found(Selector::Pid(6)), 0);
    assert_eq!(bench.0.last().unwrap().id, bench.only().id);
}
