//! Drops are counted as the rule that drops counts them, however many there are.

use agent_common::signal;
use agent_model::counters::Counters as _;
use agent_model::event::Detail;
use agent_model::signals::PacketDropped;
use tests::flood::Flood;
use tests::link::{Family, Host};
use tests::machine;
use tests::raw::{Forger, Segment, flags};
use tests::skip::skip;

use crate::watch::{self, watch};

/// SYNs of a flood. An emulated guest sends a tenth of them, for the time that it takes.
const FLOOD: usize = 1_000_000;

/// Whether the kernel gives reasons; if not, `test` is skipped.
fn gives_reasons(test: &str) -> bool {
    let gives = watch().has("packet_dropped");
    if !gives {
        skip(test, "no reasons of drops before 5.17");
    }
    gives
}

/// Drops in the host's namespace so far, of whatever reason.
fn counted(host: &Host) -> u64 {
    let counts = watch().counters().counts().expect("read COUNTS");
    let own = counts.iter().filter(|(key, _)| u64::from(key.netns) == host.inode());
    own.filter(|(key, _)| key.signal == signal::PACKET_DROPPED).map(|(_, count)| count.events).sum()
}

/// Drops what comes, and counts it.
fn drop_all(host: &Host, family: &str, hook: &str) {
    host.command(&format!("nft add table {family} flood"));
    host.command(&format!("nft add chain {family} flood drops {{ type filter hook {hook} priority 0 ; }}"));
    host.command(&format!("nft add rule {family} flood drops meta l4proto tcp counter drop"));
}

fn counted_by_rule(host: &Host) -> u64 {
    let rules = host.command("nft list ruleset");
    let (_, rest) = rules.split_once("packets ").expect("a counter");
    rest.split_whitespace().next().expect("a number").parse().expect("a number")
}

#[test]
fn a_flood_is_counted_to_the_packet() {
    if !gives_reasons("a_flood_is_counted_to_the_packet") {
        return;
    }
    let pair = watch::pair();
    drop_all(&pair.server, "inet", "input");
    let count = if machine::is_guest() { FLOOD / 10 } else { FLOOD };
    Flood::new(&pair.client, &pair.server).send(count);
    assert_eq!(counted_by_rule(&pair.server), count as u64);
    assert_eq!(counted(&pair.server), count as u64);
}

/// It has a socket, but none of TCP's, until the host that it comes to takes that from it (`ip_rcv_core`).
#[test]
fn what_a_program_makes_by_hand_is_heard_too() {
    if !gives_reasons("what_a_program_makes_by_hand_is_heard_too") {
        return;
    }
    let pair = watch::pair();
    let from = pair.client.socket_address(Family::V4, 4711);
    let to = pair.server.socket_address(Family::V4, 4712);
    drop_all(&pair.server, "netdev", "ingress device eth0");
    let forger = Forger::new(&pair.client, from, to);
    forger.send(&Segment { flags: flags::SYN, seq: 1234, ..Segment::default() });
    let dropped = watch().some(&pair.client, "the drop", |event| {
        let is_its = event.endpoint.local == to && event.endpoint.remote == from;
        if let Detail::PacketDropped(PacketDropped { segment, .. }) = event.detail
            && is_its
        {
            segment
        } else {
            None
        }
    });
    assert_eq!(dropped.seq, 1234);
    assert_eq!((counted(&pair.client), counted_by_rule(&pair.server)), (1, 1));
}
