use tests::link::{Family, Pair};
use tests::live::{self, Watched};
use tests::scenes::dropped::{Dropped, device};
use tests::witness;

use super::{Verdict, all, assert_says, diagnosis};

const NO_ROUTE: Verdict = Verdict {
    cause: "no_route",
    who: "this host has no route (network namespace ",
    reason: "",
    evidence: &["(its own)"],
};

const NEXT_HOP: Verdict = Verdict {
    cause: "next_hop_silent",
    who: "the next hop does not answer (network namespace ",
    reason: "",
    evidence: &["(its own)", "in neigh_invalidate()"],
};

#[test]
fn a_route_that_goes() {
    NO_ROUTE.each(device::no_route);
}

#[test]
fn a_route_that_leads_nowhere() {
    for kind in ["blackhole", "unreachable"] {
        NO_ROUTE.each(|pair, family| device::dead_route(pair, family, kind));
    }
}

/// Before the kernel gives up asking, the packet waits: that, too, is this host.
fn next_hop(scene: impl Fn(&Pair, Family) -> Dropped + Sync) {
    let test = |family| {
        let watched = Watched::new(Pair::new());
        let dropped = scene(&watched.pair, family);
        let tail = watched.tail(dropped.side);
        let first = diagnosis(tail, dropped.side, "stalled");
        assert_says(first.text("/summary"), &["still waits in a queue of this host after 1 timeout"]);
        assert_says(&all(&first), &["the next hop has not answered ARP or neighbour discovery yet"]);
        let told = tail.wait_for("a diagnosis of the drop", |event| {
            event.is("diagnosis", dropped.side) && event.text("/cause") == "next_hop_silent"
        });
        NEXT_HOP.check(&told, &dropped);
    };
    // A timer gives up asking, and drops.
    Family::each(|family| witness::of_drops().insist(&live::name(), || test(family)));
}

#[test]
fn a_connect_to_a_neighbour_that_nobody_is() {
    next_hop(device::nobody);
}

#[test]
fn a_neighbour_that_is_gone() {
    next_hop(device::gone_neighbour);
}

#[test]
fn a_way_back_by_another_device() {
    Verdict {
        cause: "reverse_path_filter",
        who: "this host's reverse path filter (network namespace ",
        reason: "IP_RPFILTER",
        evidence: &["(its peer's, on this host)", "at its device 12"],
    }
    .one(device::other_way_back);
}

#[test]
fn a_queue_that_is_full() {
    Verdict {
        cause: "local_queue_full",
        who: "the queue of this host's device is full (network namespace ",
        reason: "QDISC_DROP",
        evidence: &["(its own), at its device 11"],
    }
    .each(device::full_queue);
}

#[test]
fn a_checksum_that_is_wrong() {
    Verdict {
        cause: "bad_checksum",
        who: "this host finds wrong checksums (network namespace ",
        reason: "TCP_CSUM",
        evidence: &["(its peer's, on this host)"],
    }
    .each(device::damaged);
}

#[test]
fn a_signature_with_another_key() {
    Verdict {
        cause: "dropped_here",
        who: "this host (network namespace ",
        reason: "TCP_MD5FAILURE",
        evidence: &["(its peer's, on this host)", "the signature (TCP-MD5 or TCP-AO) is wrong"],
    }
    .each(device::other_key);
}
