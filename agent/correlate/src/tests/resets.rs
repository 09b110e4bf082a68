use agent_model::event::TcpState;
use agent_model::signals::reset_sent::OwnReset;

use super::super::listeners::Listening;
use super::super::timeline::What;
use super::*;

fn no_socket(time: u64) -> RecordBytes {
    RecordBytes::plain(signal::RESET_SENT, time).reset(1, false).ends("10.0.0.1:81", "10.0.0.9:5555")
}

/// `->CLOSE` with no error: closed by both sides.
fn closed(time: u64) -> RecordBytes {
    record(signal::STATE_CHANGED, time).change(LAST_ACK, CLOSE)
}

/// Only possible before 5.12, where there are no cookies.
fn destroyed(time: u64) -> RecordBytes {
    record(signal::SOCK_DESTROYED, time).state(CLOSE).socket(SK, 0)
}

fn closed_with_unread_data(time: u64) -> RecordBytes {
    let mut record = record(signal::RESET_SENT, time).reset(11, true).state(CLOSE).flags(OWNED);
    put!(record, tcp.copied_seq, 1000_u32);
    put!(record, tcp.rcv_nxt, 1300_u32);
    put!(record, tcp.shutdown, 3_u8);
    put!(record, totals.resets_sent, 1_u32);
    record.current(55, "child")
}

#[test]
fn a_closed_port_has_no_listener() {
    let mut bench = Bench::new();
    let observed = bench.see(&no_socket(SECOND));
    assert_eq!(observed.reason.as_deref(), Some("NO_SOCKET"));
    assert!(matches!(observed.listener, Listening::Unknown), "nobody has looked yet");
    bench.fact(&Fact::WalkDone { time: 2 * SECOND });
    let observed = bench.see(&no_socket(3 * SECOND));
    assert!(matches!(observed.listener, Listening::Nobody));
    assert_eq!((observed.connection, &observed.owner), (None, &None));
}

#[test]
fn a_listener_comes_and_goes() {
    let mut bench = Bench::new();
    bench.fact(&Fact::WalkDone { time: 1 });
    bench.push(&listen(2, 0x1000, "[::]:81"));
    let observed = bench.see(&no_socket(SECOND));
    let listener = observed.listener.somebody().expect("dual stack");
    assert_eq!(listener.owner.as_ref().unwrap().process.pid, 100);
    let close = listen(2 * SECOND, 0x1000, "[::]:81").change(LISTEN, CLOSE);
    assert_eq!(bench.see(&close).connection, None);
    assert!(matches!(bench.see(&no_socket(3 * SECOND)).listener, Listening::Nobody));
    assert_eq!(bench.0.sizes().listeners, 0);
}

#[test]
fn a_close_with_unread_data() {
    let mut bench = Bench::new();
    let observed = bench.see(&closed_with_unread_data(SECOND));
    let owner = observed.owner.as_ref().unwrap();
    assert_eq!((owner.process.pid, owner.source), (55, OwnerSource::Lock));
    let connection = bench.only();
    assert_eq!(connection.ended_by.as_ref().unwrap().pid, 55);
    assert_eq!(connection.timeline.entries()[0].unread, 300);
    assert_eq!((connection.died(), connection.gone), (Some(SECOND), true), "nothing more will be reported");
    assert_eq!(bench.0.sizes().history, 1);
}

#[test]
fn a_fin_is_no_unread_byte() {
    let mut bench = Bench::new();
    let mut closed = closed_with_unread_data(SECOND);
    put!(closed, tcp.sock_flags, 1_u64 << 1);
    assert_eq!(bench.see(&closed).event.tcp.unwrap().unread_bytes(), 299);
}

#[test]
fn a_burial_empties_nothing() {
    let mut bench = Bench::new();
    bench.push(&closed_with_unread_data(SECOND).socket(SK, 0));
    bench.push(&destroyed(SECOND + 1));
    let connection = bench.only();
    assert_eq!(connection.tcp().unwrap().unread_bytes(), 300);
    assert_eq!(connection.totals().resets_sent, 1);
    assert_eq!(connection.timeline.len(), 2);
}

#[test]
fn a_reset_from_the_peer_is_an_end() {
    let mut bench = Bench::new();
    let observed = bench.see(&record(signal::RESET_RECEIVED, SECOND));
    let connection = bench.only();
    assert_eq!(observed.connection, Some(connection.id));
    assert_eq!((connection.error, connection.died(), connection.gone), (104, Some(SECOND), true));
    assert_eq!(connection.live_state, Some(TcpState::Established));
    assert_eq!(connection.state, Some(TcpState::Close));
}

#[test]
fn a_refused_connect_is_a_story_without_facts() {
    let mut bench = Bench::new();
    let refused = RecordBytes::plain(signal::RESET_RECEIVED, SECOND).socket(SK, 42).state(SYN_SENT);
    let refused = refused.ends("10.0.0.1:40000", "10.0.0.2:81").owner(5, "curl", owner::CONNECT);
    assert_eq!(bench.see(&refused).owner.as_ref().unwrap().process.pid, 5);
    let connection = bench.only();
    assert_eq!((connection.error, connection.tcp().is_none(), connection.gone), (111, true, true));
}

#[test]
fn our_reset_after_the_peers_is_the_same_story() {
    let mut bench = Bench::new();
    bench.push(&record(signal::RESET_RECEIVED, SECOND).state(FIN_WAIT2));
    bench.push(&record(signal::RESET_SENT, SECOND + 1).reset(8, false).state(CLOSE));
    let connection = bench.only();
    assert_eq!((connection.events, connection.gone, connection.died()), (2, true, Some(SECOND)));
}

#[test]
fn a_closed_socket_that_connects_again_lives_again() {
    let mut bench = Bench::new();
    bench.push(&record(signal::RESET_RECEIVED, SECOND));
    bench.push(&timeout(5 * SECOND, 1, 51).retransmit(retransmit::SYN).state(SYN_SENT));
    let connection = bench.only();
    assert!(connection.is_live() && connection.is_stalled());
    assert_eq!((connection.error, connection.events), (0, 2));
    let sizes = bench.0.sizes();
    assert_eq!((sizes.connections, sizes.history), (1, 0));
}

#[test]
fn a_killer_is_no_owner() {
    let mut bench = Bench::new();
    let kill = record(signal::RESET_SENT, SECOND).reset(14, true).flags(OWNED).current(77, "ss");
    assert_eq!(bench.see(&kill).owner, None);
    let mut close = record(signal::STATE_CHANGED, SECOND).change(ESTABLISHED, CLOSE).flags(OWNED);
    put!(close, tcp.err, 103_i32);
    put!(close, totals.resets_sent, 1_u32);
    bench.push(&close.current(77, "ss"));
    let connection = bench.only();
    assert!(connection.gone);
    assert_eq!(connection.owner, None);
    assert_eq!(connection.ended_by.as_ref().unwrap().pid, 77);
    assert_eq!(connection.error, 103);
}

#[test]
fn a_reset_in_time_wait_goes_to_the_connection_that_died() {
    let mut bench = Bench::new();
    bench.push(&timeout(SECOND, 1, 51).owner(5, "server", owner::LOCK));
    bench.push(&closed(2 * SECOND));
    let late = RecordBytes::plain(signal::RESET_SENT, 3 * SECOND).reset(9, false).state(6).flags(TIME_WAIT);
    let late = late.ends("10.0.0.1:40000", "10.0.0.2:443").socket(0xdead_0000, 0);
    let observed = bench.see(&late);
    assert_eq!(observed.connection, Some(bench.only().id));
    assert_eq!(observed.owner.as_ref().unwrap().process.pid, 5);
    let connection = bench.only();
    let last = connection.timeline.last().unwrap().what;
    let state = Some(TcpState::TimeWait);
    assert_eq!(
        last,
        What::ResetSent(OwnReset { reason: Some(9), stack: None, active: false, state, exit: None })
    );
    assert!(connection.died().is_some(), "TIME_WAIT is no life");
}

#[test]
fn a_reset_in_time_wait_of_a_healthy_connection_is_a_story() {
    let mut bench = Bench::new();
    bench.push(&listen(1, 0x1000, "10.0.0.1:80"));
    let late = RecordBytes::plain(signal::RESET_SENT, SECOND).reset(9, false).state(6).flags(TIME_WAIT);
    let late = late.ends("10.0.0.1:80", "10.0.0.2:5555").socket(0xdead_0000, 0);
    let first = bench.see(&late);
    let second = bench.see(&late);
    assert_eq!(first.connection, second.connection);
    assert_eq!(first.owner.as_ref().unwrap().source, OwnerSource::Listener);
    let connection = bench.only();
    assert!(connection.accepted && !connection.is_live());
    assert_eq!((connection.events, connection.tcp().is_none()), (2, true));
}

#[test]
fn strays_long_after_a_death_are_not_its_doing() {
    let mut bench = Bench::new();
    bench.push(&timeout(SECOND, 1, 51));
    bench.push(&closed(2 * SECOND));
    let stray = |time| no_socket(time).ends("10.0.0.1:40000", "10.0.0.2:443");
    assert!(bench.see(&stray(100 * SECOND)).connection.is_some());
    assert!(bench.see(&stray(300 * SECOND)).connection.is_none());
    let mut elsewhere = stray(101 * SECOND);
    put!(elsewhere, record.endpoint.netns, 1_u32);
    assert!(bench.see(&elsewhere).connection.is_none());
}

#[test]
fn an_address_used_again_is_another_connection() {
    let mut bench = Bench::new();
    let first = bench.see(&timeout(SECOND, 1, 51)).connection;
    let second = bench.see(&timeout(2 * SECOND, 1, 51).socket(SK, 43)).connection;
    assert_ne!(first, second);
    let correlator = bench.0;
    assert!(!correlator.connection_by_id(first.unwrap()).unwrap().is_live());
    assert!(correlator.connection_by_id(second.unwrap()).unwrap().is_live());
}

#[test]
fn without_cookies_the_address_names_the_connection() {
    let mut bench = Bench::new();
    let first = bench.see(&timeout(SECOND, 1, 51).socket(SK, 0)).connection;
    let again = bench.see(&timeout(2 * SECOND, 2, 102).socket(SK, 0)).connection;
    assert_eq!(first, again);
    let other = timeout(3 * SECOND, 1, 51).socket(SK, 0).ends("10.0.0.1:40001", "10.0.0.2:444");
    assert_ne!(bench.see(&other).connection, first);
}

#[test]
fn both_ends_on_one_host() {
    let mut bench = Bench::new();
    bench.push(&timeout(SECOND, 1, 51));
    let mut other = timeout(SECOND, 1, 51).socket(0x2000, 43).ends("10.0.0.2:443", "10.0.0.1:40000");
    put!(other, record.endpoint.netns, 1_u32);
    bench.push(&other);
    let correlator = bench.0;
    let here = correlator.select(&[Selector::Port(443), Selector::Netns(1)])[0];
    let there = correlator.peer(here).unwrap();
    assert_ne!(here.id, there.id);
    assert_eq!(correlator.peer(there).unwrap().id, here.id);
}
