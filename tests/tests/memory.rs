//! What the agent says of sockets that were refused memory.

use tests::agent::event::Event;
use tests::cgroup::LimitedCgroup;
use tests::link::{Family, Pair};
use tests::live::{Watched, owned_by_this_process};
use tests::scenes::memory::{self, Unread};
use tests::skip::skip;
use tests::tcp::{self, Side};
use tests::wait;

#[test]
fn an_unread_ping_socket_overflows_once_a_packet() {
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        let full = memory::rcvqueue_full(&watched.pair, family);
        let events = watched.so_far(full.side);
        let refusals: Vec<&Event> = events.iter().filter(|event| event.name() == "rcvqueue_full").collect();
        assert_eq!(refusals.iter().map(|event| event.stands_for()).sum::<u64>(), full.refused, "{events:#?}");
        for event in refusals {
            assert_eq!(event.text("/family"), family.name());
            assert_eq!(event.number("/queue/rcvbuf"), full.rcvbuf);
            assert!(event.number("/queue/rmem_alloc") >= full.rcvbuf, "the reason it did not fit");
            assert!(event.number("/queue/truesize") > 0);
        }
    });
}

/// Asserts a refusal of a side's memory.
fn refused(watched: &Watched, side: Side, direction: &str) {
    let event = watched.tail(side).wait_for("a refusal", |event| event.is("buf_limit_exceeded", side));
    assert_eq!(event.text("/memory/direction"), direction);
    assert_eq!(event.text("/memory/protocol"), if side.local.is_ipv4() { "TCP" } else { "TCPv6" });
    assert!(event.number("/totals/buf_limit_exceeded") >= 1);
    owned_by_this_process(&event);
}

/// Asserts that the cgroup's limit is named, with the numbers of its files.
fn limited_by(watched: &Watched, side: Side, cgroup: &LimitedCgroup) {
    let event = watched.tail(side).wait_for("the limit that refused", |event| event.is("diagnosis", side));
    assert_eq!(
        (event.text("/cause"), event.text("/phase")),
        ("cgroup_memory_limit", "stalled"),
        "{event:#?}"
    );
    let limit = format!("the limit for TCP of {} is {}.0 KiB", cgroup.below_root(), memory::LIMIT >> 10);
    let text = event.find("/evidence").expect("evidence").to_string();
    assert!(text.contains(&limit), "no {limit:?} in {text}");
    let used = text.split_once(&limit).expect("the limit").1.split(' ').nth(1).expect("what is used");
    let used: f64 = used.parse().expect("a number");
    assert!(used <= cgroup.used() as f64 / 1024.0 && used > 0.0, "{used} of {}: {text}", cgroup.used());
}

#[test]
fn a_sender_refused_by_its_cgroup() {
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        match memory::send_refused(&watched.pair, family) {
            Ok((connection, cgroup)) => {
                refused(&watched, connection.client_side, "send");
                limited_by(&watched, connection.client_side, &cgroup);
            }
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

#[test]
fn a_reader_that_stops_is_named_until_it_reads_again() {
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        let unread = memory::receive_buffer_full(&watched.pair, family);
        let side = unread.connection.server_side;
        let drop = watched.tail(side).wait_for("a dropped segment", |event| event.is("packet_dropped", side));
        assert_eq!(drop.text("/drop/reason"), "PROTO_MEM");
        assert_eq!((drop.number("/totals/dropped"), drop.find("/tcp/rcvbuf_fixed")), (1, Some(&true.into())));
        assert!(drop.number("/tcp/unread_bytes") as usize <= unread.sent, "{drop:#?}");
        let event = watched.tail(side).wait_for("who does not read", |event| event.is("diagnosis", side));
        assert_eq!(
            (event.text("/cause"), event.text("/phase")),
            ("receive_buffer_full", "stalled"),
            "{event:#?}"
        );
        let evidence = event.find("/evidence").expect("evidence").to_string();
        assert!(evidence.contains("the application fixed SO_RCVBUF"), "{evidence}");
        // What was dropped is sent again, and arrives.
        let Unread { connection, sent, .. } = unread;
        tcp::nonblocking(&connection.server);
        let mut read = 0;
        wait::until("all bytes to arrive", || {
            read += tcp::drain(&connection.server).0;
            read >= sent
        });
        assert_eq!(read, sent);
    });
}

#[test]
fn a_full_accept_queue_is_reported_at_the_dropped_ack() {
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        let (side, _held) = memory::accept_queue_full(&watched.pair, family);
        let drop = watched.tail(side).wait_for("a dropped ACK", |event| event.is("packet_dropped", side));
        assert_eq!(drop.text("/drop/reason"), "TCP_LISTEN_OVERFLOW");
        assert_eq!((drop.number("/listener/accept_queue"), drop.number("/listener/backlog")), (2, 1));
        let event = watched.tail(side).wait_for("whose queue", |event| event.is("diagnosis", side));
        assert_eq!(
            (event.text("/cause"), event.text("/phase")),
            ("accept_queue_full", "stalled"),
            "{event:#?}"
        );
        let pid = std::process::id();
        assert!(
            event.text("/summary").contains(&format!("[{pid}] does not accept fast enough: 2 connections"))
        );
    });
}
