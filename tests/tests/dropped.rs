//! Packets that this host drops: told where they die, tied to their connection, and judged. Each look-alike is the same
//! loss where this host cannot see it.

use serde_json::Value;
use tests::agent::agent;
use tests::agent::event::Event;
use tests::agent::tail::Tail;
use tests::link::{Family, Pair};
use tests::live::Watched;
use tests::scenes::death;
use tests::scenes::dropped::{self, Dropped, Routed};
use tests::tcp::Side;

/// What is said of `side` in `phase`.
fn diagnosis(tail: &Tail, side: Side, phase: &str) -> Event {
    tail.wait_for("a diagnosis", |event| event.is("diagnosis", side) && event.text("/phase") == phase)
}

/// The first packet of `dropped` that was dropped, told with the socket that sent it.
fn first_drop(tail: &Tail, dropped: &Dropped) -> Event {
    tail.wait_for("a dropped packet", |event| event.is("packet_dropped", dropped.side))
}

fn all(diagnosis: &Event) -> String {
    let evidence = diagnosis.find("/evidence").and_then(Value::as_array).expect("evidence");
    evidence.iter().map(|one| one["text"].as_str().expect("a text")).collect::<Vec<_>>().join("\n")
}

fn assert_says(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "no {wanted:?} in {text}");
    }
}

/// `2026-11-30T23:26:54.968148000Z` of the same day, in seconds.
fn seconds(event: &Event) -> f64 {
    let clock = event.text("/time").split_once('T').expect("a time").1.trim_end_matches('Z');
    clock.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().expect("a number"))
}

#[test]
fn what_the_own_firewall_drops_on_its_way_out_is_told_within_a_second() {
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        let dropped = dropped::output(&watched.pair, family);
        let first = first_drop(watched.tail(dropped.side), &dropped);
        assert_eq!((first.text("/drop/reason"), first.text("/drop/hook")), ("NETFILTER_DROP", "OUTPUT"));
        assert_eq!((first.text("/drop/direction"), first.number("/drop/len")), ("out", 1000));
        assert_eq!(first.number("/drop/netns"), dropped.netns);
        let told = diagnosis(watched.tail(dropped.side), dropped.side, "stalled");
        assert_eq!(told.text("/cause"), "dropped_by_netfilter", "{told:#?}");
        let after = seconds(&told) - seconds(&first);
        assert!((0.0..1.0).contains(&after), "{after} s");
        let place = format!("this host's firewall (OUTPUT, network namespace {})", dropped.netns);
        assert_says(told.text("/summary"), &[&place]);
    });
}

#[test]
fn a_syn_that_the_servers_namespace_drops_is_its_clients_trouble() {
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        let dropped = dropped::syn_at_input(&watched.pair, family);
        let told = diagnosis(watched.tail(dropped.side), dropped.side, "stalled");
        assert_eq!(told.text("/cause"), "dropped_by_netfilter", "{told:#?}");
        assert_says(told.text("/summary"), &[&format!("(INPUT, network namespace {})", dropped.netns)]);
    });
}

#[test]
fn a_connect_that_nothing_here_drops_says_so() {
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        let death = death::connect(&watched.pair, family, 1);
        let told = diagnosis(watched.tail(death.side), death.side, "died");
        assert_eq!(told.text("/cause"), "connect_timeout", "{told:#?}");
        assert_says(&all(&told), &["no packet of it was dropped on this host"]);
    });
}

#[test]
fn a_reset_of_the_own_firewall_is_not_the_peers() {
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        let dropped = dropped::rejected(&watched.pair, family);
        let told = diagnosis(watched.tail(dropped.side), dropped.side, "died");
        assert_eq!(told.text("/cause"), "rejected_by_netfilter", "{told:#?}");
        assert_says(told.text("/summary"), &["OUTPUT", "the peer never saw it"]);
    });
}

/// A router that is a namespace of this host is on this host, too: it is named.
#[test]
fn a_router_between_that_drops_is_named() {
    let routed = Routed::new();
    let tail = agent().tail(&routed.client);
    let dropped = routed.forward();
    let told = diagnosis(&tail, dropped.side, "stalled");
    assert_eq!(told.text("/cause"), "dropped_by_netfilter", "{told:#?}");
    assert_says(told.text("/summary"), &[&format!("(FORWARD, network namespace {})", dropped.netns)]);
    assert_says(&all(&told), &["another one of this host, on the way"]);
}
