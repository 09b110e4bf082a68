use tests::link::{Family, Pair};
use tests::live::Watched;
use tests::scenes::death;
use tests::scenes::dropped;

use super::{Verdict, all, assert_says, diagnosis, first_drop, seconds};

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
    Verdict {
        cause: "dropped_by_netfilter",
        who: "this host's firewall (INPUT, network namespace ",
        reason: "NETFILTER_DROP",
        evidence: &["nftables did it: not the peer, and not the path"],
    }
    .each(dropped::syn_at_input);
}

#[test]
fn each_hook_is_named() {
    for (hook, who) in [
        ("output", "this host's firewall (OUTPUT, network namespace "),
        ("postrouting", "this host's firewall (POSTROUTING, network namespace "),
        ("egress", "this host's firewall (egress, network namespace "),
        ("ingress", "this host's firewall (ingress, network namespace "),
        ("prerouting", "this host's firewall (PREROUTING, network namespace "),
        ("input", "this host's firewall (INPUT, network namespace "),
    ] {
        Verdict {
            cause: "dropped_by_netfilter",
            who,
            reason: "NETFILTER_DROP",
            evidence: &["in nft_do_chain()"],
        }
        .each(|pair, family| dropped::at_hook(pair, family, hook));
    }
}

#[test]
fn iptables_is_told_from_nftables() {
    Verdict {
        cause: "dropped_by_netfilter",
        who: "this host's firewall (OUTPUT, network namespace ",
        reason: "NETFILTER_DROP",
        evidence: &["in nf_hook_slow(), at netfilter's hook OUTPUT", "iptables or conntrack did it"],
    }
    .each(dropped::output_of_iptables);
}

#[test]
fn what_conntrack_calls_invalid_and_a_rule_drops() {
    Verdict {
        cause: "dropped_by_netfilter",
        who: "this host's firewall (INPUT, network namespace ",
        reason: "NETFILTER_DROP",
        evidence: &["its peer's, on this host"],
    }
    .each(dropped::invalid);
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

/// The look-alike of all data that dies on its way to a server on this host.
#[test]
fn data_that_nothing_here_drops_says_so() {
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        let death = death::silence(&watched.pair, family, 3);
        let told = diagnosis(watched.tail(death.side), death.side, "died");
        assert_eq!(told.text("/cause"), "retransmission_timeout", "{told:#?}");
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

#[test]
fn what_the_servers_namespace_rejects_is_not_the_peers_either() {
    for (with, how) in [("", "an ICMP message"), ("with tcp reset", "a RST")] {
        Family::each(|family| {
            let watched = Watched::new(Pair::new());
            let dropped = dropped::rejected_at_input(&watched.pair, family, with);
            let told = diagnosis(watched.tail(dropped.side), dropped.side, "died");
            assert_eq!(told.text("/cause"), "rejected_by_netfilter", "{told:#?}");
            let place = format!("this host's firewall (INPUT, network namespace {})", dropped.netns);
            assert_says(told.text("/summary"), &[&place, &format!("rejected its packets with {how}")]);
        });
    }
}
