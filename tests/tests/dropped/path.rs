use tests::agent::agent;
use tests::netns::Netns;
use tests::scenes::dropped::Dropped;
use tests::scenes::dropped::path::{Bridged, Nat, Routed};

use super::{Verdict, diagnosis};

fn assert_verdict(verdict: &Verdict, client: &Netns, scene: impl FnOnce() -> Dropped) {
    let tail = agent().tail(client);
    let dropped = scene();
    verdict.check(&diagnosis(&tail, dropped.side, "stalled"), &dropped);
}

fn firewall(who: &'static str, evidence: &'static [&'static str]) -> Verdict {
    Verdict { cause: "dropped_by_netfilter", who, reason: "NETFILTER_DROP", evidence }
}

/// A router that is a namespace of this host is on this host, too: it is named.
#[test]
fn a_router_between_that_drops_is_named() {
    let routed = Routed::new();
    let verdict = firewall(
        "this host's firewall (FORWARD, network namespace ",
        &["another one of this host, on the way"],
    );
    assert_verdict(&verdict, &routed.client, || routed.forward());
}

#[test]
fn a_router_between_without_a_way_is_named() {
    for kind in ["unreachable", "blackhole"] {
        let routed = Routed::new();
        let verdict = Verdict {
            cause: "no_route",
            who: "this host has no route (network namespace ",
            reason: "",
            evidence: &["another one of this host, on the way"],
        };
        assert_verdict(&verdict, &routed.client, || routed.dead_route(kind));
    }
}

#[test]
fn behind_each_address_translation() {
    for nat in [Nat::Destination, Nat::Source, Nat::Masquerade, Nat::Both] {
        let routed = Routed::new();
        let verdict = firewall(
            "this host's firewall (INPUT, network namespace ",
            &["where it was to arrive, on this host"],
        );
        assert_verdict(&verdict, &routed.client, || routed.translated(nat));
    }
}

#[test]
fn a_bridge_between_has_a_policy() {
    for (hook, who) in [
        ("prerouting", "this host's firewall (bridge PREROUTING, network namespace "),
        ("forward", "this host's firewall (bridge FORWARD, network namespace "),
        ("postrouting", "this host's firewall (bridge POSTROUTING, network namespace "),
    ] {
        let bridged = Bridged::new();
        let verdict = firewall(who, &["another one of this host, on the way"]);
        assert_verdict(&verdict, &bridged.client, || bridged.policy(hook));
    }
}

#[test]
fn a_bridge_that_asks_the_firewall() {
    let bridged = Bridged::new();
    let verdict = firewall(
        "this host's firewall (FORWARD, network namespace ",
        &["another one of this host, on the way"],
    );
    assert_verdict(&verdict, &bridged.client, || bridged.forward());
}
