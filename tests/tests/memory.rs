//! What the agent says of sockets that were refused memory.

use tests::agent::event::Event;
use tests::link::{Family, Pair};
use tests::live::{Watched, owned_by_this_process};
use tests::scenes::memory;
use tests::skip::skip;
use tests::tcp::Side;

#[test]
fn an_unread_ping_socket_overflows_once_a_packet() {
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        let full = memory::rcvqueue_full(&watched.pair, family);
        let events = watched.so_far(full.side);
        let told: Vec<&Event> = events.iter().filter(|event| event.name() == "rcvqueue_full").collect();
        assert_eq!(told.iter().map(|event| event.stands_for()).sum::<u64>(), full.refused, "{events:#?}");
        for event in told {
            assert_eq!(event.text("/family"), family.name());
            assert_eq!(event.number("/queue/rcvbuf"), full.rcvbuf);
            assert!(event.number("/queue/rmem_alloc") >= full.rcvbuf, "the reason it did not fit");
            assert!(event.number("/queue/truesize") > 0);
        }
    });
}

/// Asserts a refusal of a side's memory.
fn refused(watched: &Watched, side: Side, direction: &str) {
    let told = watched.tail(side).wait_for("a refusal", |event| event.is("buf_limit_exceeded", side));
    assert_eq!(told.text("/memory/direction"), direction);
    assert_eq!(told.text("/memory/protocol"), if side.local.is_ipv4() { "TCP" } else { "TCPv6" });
    assert!(told.number("/totals/buf_limit_exceeded") >= 1);
    owned_by_this_process(&told);
}

#[test]
fn a_sender_refused_by_its_cgroup() {
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        match memory::send_refused(&watched.pair, family) {
            Ok(connection) => refused(&watched, connection.client_side, "send"),
            Err(reason) => skip("a_sender_refused_by_its_cgroup", &reason),
        }
    });
}

#[test]
fn a_receiver_refused_by_its_cgroup() {
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        match memory::receive_refused(&watched.pair, family) {
            Ok(connection) => refused(&watched, connection.server_side, "receive"),
            Err(reason) => skip("a_receiver_refused_by_its_cgroup", &reason),
        }
    });
}
