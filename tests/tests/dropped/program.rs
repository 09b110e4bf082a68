use tests::link::{Family, Pair};
use tests::live::{self, Watched};
use tests::scenes::dropped::program;
use tests::skip::skip;

use super::{Verdict, diagnosis};

const AT_TC: &str = "a BPF program or tc filter of this host (network namespace ";
const AT_XDP: &str = "an XDP program of this host (network namespace ";

fn by(who: &'static str, reason: &'static str, evidence: &'static [&'static str]) -> Verdict {
    Verdict { cause: "dropped_by_bpf", who, reason, evidence }
}

#[test]
fn a_program_at_the_senders_tc() {
    by(AT_TC, "TC_EGRESS", &["(its own)"]).each(program::tc_egress);
}

#[test]
fn a_program_at_the_receivers_tc() {
    by(AT_TC, "TC_INGRESS", &["at its device 12"]).each(program::tc_ingress);
}

#[test]
fn a_program_of_xdp_where_there_is_a_packet_already() {
    by(AT_XDP, "in do_xdp_generic()", &["at its device 12"]).each(program::generic_xdp);
}

#[test]
fn a_program_of_xdp_in_veths_driver() {
    by(AT_XDP, "in veth_xdp_rcv_skb()", &["at its device 12"]).each(program::driver_xdp);
}

#[test]
fn a_filter_of_the_receivers_own_process() {
    by(
        "a filter of the receiving socket (network namespace ",
        "SOCKET_FILTER",
        &["(its peer's, on this host)"],
    )
    .each(program::socket_filter);
}

#[test]
fn a_program_of_the_senders_cgroup() {
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        let dropped = match program::cgroup_egress(&watched.pair, family) {
            Ok(dropped) => dropped,
            Err(reason) => return skip(&live::name(), &reason),
        };
        let told = diagnosis(watched.tail(dropped.side), dropped.side, "stalled");
        by("a BPF program of its cgroup (network namespace ", "BPF_CGROUP_EGRESS", &["(its own)"])
            .check(&told, &dropped);
    });
}
