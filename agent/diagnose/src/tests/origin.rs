//! Who made a RST, by its packet; and ways that are gone.

use agent_common::signal;

use super::*;
use crate::fixture::dropped;

const ETH0: u32 = 2;
const LOOPBACK: u32 = 1;
const NO_ROUTE: u32 = 63;

/// A RST that came in by `ifindex` with `ttl`; data of the peer that is not read had come with `peer_ttl`, if not 0.
fn arrived(ifindex: u32, ttl: u8, peer_ttl: u8) -> RecordBytes {
    let mut reset = record(signal::RESET_RECEIVED, SECOND);
    put!(reset, record.detail.reset_received.ifindex, ifindex);
    put!(reset, record.detail.reset_received.ttl, ttl);
    put!(reset, record.detail.reset_received.peer_ttl, peer_ttl);
    reset
}

fn diagnosed(reset: &RecordBytes) -> Diagnosis {
    let mut bench = Bench::new();
    bench.push(reset);
    bench.only()
}

/// How certain the sentence is that has `part` in it.
fn certainty_of(diagnosis: &Diagnosis, part: &str) -> Certainty {
    let one = diagnosis.evidence.iter().find(|one| one.text.contains(part));
    one.unwrap_or_else(|| panic!("no {part:?} in {diagnosis:#?}")).certainty
}

#[test]
fn what_the_packet_says_is_seen_and_what_follows_is_not() {
    let near = diagnosed(&arrived(ETH0, 64, 0));
    assert_eq!(near.cause, Cause::PeerReset);
    says(&near, "the peer reset the connection");
    assert_eq!(certainty_of(&near, "came in by device 2 with TTL 64"), Certainty::Observed);
    assert_eq!(certainty_of(&near, "no router lies between"), Certainty::Inferred);
    says(&near, "compare TTL and IP id");
    says(&diagnosed(&arrived(ETH0, 63, 0)), "it passed 1 router, if its TTL began at 64");
    says(&diagnosed(&arrived(ETH0, 113, 0)), "it passed 15 routers, if its TTL began at 128");
    says(&diagnosed(&arrived(ETH0, 243, 0)), "it passed 12 routers, if its TTL began at 255");
}

#[test]
fn a_packet_that_was_not_seen_says_nothing() {
    let unseen = diagnosed(&record(signal::RESET_RECEIVED, SECOND));
    says_not(&unseen, "TTL 0");
    says_not(&unseen, "router lies");
}

#[test]
fn the_peers_data_decide() {
    let same = diagnosed(&arrived(ETH0, 55, 55));
    says(&same, "the peer reset the connection");
    assert_eq!(certainty_of(&same, "that is not read yet had come with TTL 55"), Certainty::Observed);
    says(&same, "it passed 9 routers, as the peer's data did");
    says_not(&same, "compare TTL");
    // What is as far away may well begin with another number.
    says(&diagnosed(&arrived(ETH0, 119, 55)), "as the peer's data did");
    let nearer = diagnosed(&arrived(ETH0, 62, 55));
    says(&nearer, "a device that is not the peer");
    says(&nearer, "it passed 2 routers and the peer's data 9: not the peer made it, but a device between");
    assert_eq!(certainty_of(&nearer, "not the peer made it"), Certainty::Inferred);
    says(&diagnosed(&arrived(ETH0, 240, 55)), "a device farther away");
}

#[test]
fn what_came_by_loopback_was_made_here() {
    let here = diagnosed(&arrived(LOOPBACK, 64, 0));
    assert_eq!(here.cause, Cause::PeerReset);
    says(&here, "a RST that was made on this host, in the peer's name, reset the connection");
    says(&here, "nft list ruleset");
    says_not(&here, "run tcpwhy on the peer's host");
    let itself = diagnosed(&arrived(LOOPBACK, 64, 0).ends("127.0.0.1:80", "127.0.0.1:5555"));
    says(&itself, "the peer reset the connection");
    says_not(&itself, "in the peer's name");
}

#[test]
fn a_connect_that_this_host_refuses_is_not_refused_by_the_peer() {
    let refuse = |ifindex| {
        let mut bench = Bench::new();
        bench.push(&arrived(ifindex, 64, 0).state(SYN_SENT));
        bench.push(&closed(SECOND + 1, SYN_SENT, libc::ECONNREFUSED));
        bench.diagnoses().pop().expect("a diagnosis")
    };
    let there = refuse(ETH0);
    assert_eq!(there.cause, Cause::ConnectionRefused);
    says(&there, "10.0.0.2:5555 refused the connect()");
    says(&there, "no router lies between");
    let here = refuse(LOOPBACK);
    assert_eq!(here.cause, Cause::ConnectionRefused);
    says(&here, "to 10.0.0.2:5555 was refused on this host");
    says_not(&here, "no process listens there");
}

#[test]
fn what_cannot_be_made_for_want_of_a_route_is_not_the_peers_silence() {
    let mut failed = timeout(SECOND, 1, 51);
    put!(failed, record.detail.retransmit.err, -libc::EHOSTUNREACH);
    put!(failed, totals.failed, 1_u32);
    let gone = diagnosed(&failed);
    assert_eq!((gone.cause, gone.phase), (Cause::NoRoute, Phase::Stalled));
    says(&gone, "this host has no way to send for it");
    assert_eq!(certainty_of(&gone, "no packet was made"), Certainty::Inferred);
    let mut bench = Bench::new();
    bench.push(&failed);
    bench.diagnoses();
    // The way is back, and still nobody answers.
    let mut sent = timeout(2 * SECOND, 2, 102);
    put!(sent, totals.failed, 1_u32);
    bench.push(&sent);
    assert_eq!(bench.only().cause, Cause::RetransmissionTimeout);
    let mut busy = timeout(SECOND, 1, 51);
    put!(busy, record.detail.retransmit.err, -libc::EBUSY);
    assert_eq!(diagnosed(&busy).cause, Cause::RetransmissionTimeout);
}

#[test]
fn a_missing_route_is_told_at_the_first_packet() {
    let mut first = dropped(record(signal::PACKET_DROPPED, SECOND), NO_ROUTE);
    put!(first, tcp.write_seq, 300_u32);
    says(&diagnosed(&first), "(1 packet, IP_OUTNOROUTES)");
    // Nothing waits.
    let mut bench = Bench::new();
    bench.push(&dropped(record(signal::PACKET_DROPPED, SECOND), NO_ROUTE));
    assert!(bench.diagnoses().is_empty());
}
