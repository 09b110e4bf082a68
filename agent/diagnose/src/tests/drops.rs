use agent_common::record::{DROPPED_IN, HAS_SEGMENT};
use agent_common::signal;
use agent_model::drop_reasons::MEANINGS;
use agent_model::event::Settings;

use super::*;
use crate::fixture::dropped;

const NETFILTER: u32 = 12;
const QDISC: u32 = 64;
const OUTPUT: &[&str] = &["sk_skb_reason_drop", "nft_do_chain", "nf_hook_slow", "__ip_local_out"];

fn drop_of(time: u64, reason: u32) -> RecordBytes {
    dropped(record(signal::PACKET_DROPPED, time), reason)
}

/// A packet without a socket, from `from` to `to`: its destination is the local end.
fn bare(time: u64, from: &str, to: &str) -> RecordBytes {
    let plain = RecordBytes::plain(signal::PACKET_DROPPED, time).ends(to, from);
    let mut elsewhere = dropped(plain, NETFILTER);
    put!(elsewhere, record.detail.packet_dropped.way, 0_u8);
    put!(elsewhere, record.detail.packet_dropped.netns, 77_u32);
    elsewhere
}

#[test]
fn packets_that_never_leave_are_told_at_the_second_drop() {
    let mut bench = Bench::new();
    bench.place(OUTPUT);
    let mut first = drop_of(SECOND, NETFILTER);
    put!(first, tcp.write_seq, 300_u32);
    bench.push(&first);
    assert!(bench.diagnoses().is_empty(), "one packet may be chance");
    let mut second = drop_of(SECOND + SECOND / 5, NETFILTER);
    put!(second, tcp.write_seq, 300_u32);
    bench.push(&second);
    let told = bench.only();
    assert_eq!((told.cause, told.phase), (Cause::DroppedByNetfilter, Phase::Stalled));
    says(&told, "this host's firewall (OUTPUT, network namespace 4026531840) drops its packets (2 packets");
    says(&told, "nft list ruleset");
}

#[test]
fn a_connect_whose_syn_is_dropped_in_another_namespace() {
    let mut bench = Bench::new();
    bench.place(&["nft_do_chain", "nf_hook_slow", "ip_local_deliver"]);
    bench.push(&bare(SECOND, SERVER, CLIENT));
    let syn = timeout(2 * SECOND, 1, 250).retransmit(retransmit::SYN).state(SYN_SENT);
    bench.push(&syn);
    let told = bench.only();
    assert_eq!(told.cause, Cause::DroppedByNetfilter);
    says(&told, "(INPUT, network namespace 77) drops its packets");
    says(&told, "where it was to arrive, on this host");
    says_not(&told, "down or unreachable");
    bench.push(&bare(2 * SECOND + 1, SERVER, CLIENT));
    let mut end = closed(3 * SECOND, SYN_SENT, libc::ETIMEDOUT);
    silent(&mut end, 2);
    bench.push(&end);
    let told = bench.only();
    assert_eq!((told.cause, told.phase), (Cause::DroppedByNetfilter, Phase::Died));
    says(&told, "the kernel gave up with ETIMEDOUT");
}

#[test]
fn what_is_lost_elsewhere_is_not_laid_to_one_drop_here() {
    let mut bench = Bench::new();
    bench.place(OUTPUT);
    bench.push(&drop_of(SECOND, NETFILTER));
    for stage in 1..=4 {
        bench.push(&timeout((1 + u64::from(stage)) * SECOND, stage, 51));
    }
    assert_eq!(bench.diagnoses().last().unwrap().cause, Cause::RetransmissionTimeout);
}

#[test]
fn a_silence_without_a_drop_says_so_where_the_kernel_tells() {
    let honest = "no packet of it was dropped on this host";
    let mut bench = Bench::new();
    bench.push(&timeout(SECOND, 2, 51));
    says(&bench.only(), honest);
    let mut failed = timeout(SECOND + 1, 2, 51).socket(SK + 128, 77);
    put!(failed, totals.failed, 1_u32);
    bench.push(&failed);
    says_not(&bench.only(), honest);
    bench.fact(&Fact::Lost { signal: "packet_dropped".into(), count: 1 });
    bench.push(&timeout(2 * SECOND, 3, 51));
    says_not(&bench.only(), honest);
}

#[test]
fn a_full_queue_is_trouble_once_a_timer_runs_out_over_it() {
    let mut bench = Bench::new();
    for time in 0..3 {
        bench.push(&drop_of(SECOND + time, QDISC));
    }
    assert!(bench.diagnoses().is_empty());
    bench.push(&timeout(2 * SECOND, 2, 51));
    assert_eq!(bench.only().cause, Cause::LocalQueueFull);
}

#[test]
fn an_answer_that_this_hosts_firewall_made_is_not_the_peers() {
    let mut bench = Bench::new();
    bench.place(OUTPUT);
    bench.push(&drop_of(SECOND, NETFILTER));
    bench.push(&record(signal::RESET_RECEIVED, SECOND + 50_000));
    bench.push(&closed(SECOND + 60_000, ESTABLISHED, libc::ECONNRESET));
    let told = bench.diagnoses();
    assert_eq!(told.last().unwrap().cause, Cause::RejectedByNetfilter, "{told:#?}");
    says(told.last().unwrap(), "rejected its packets with a RST");
}

/// One that the peer sent long after a drop is the peer's.
#[test]
fn a_reset_long_after_a_drop_is_the_peers() {
    let mut bench = Bench::new();
    bench.push(&drop_of(SECOND, NETFILTER));
    bench.push(&record(signal::RESET_RECEIVED, 2 * SECOND));
    bench.push(&closed(2 * SECOND + 1, ESTABLISHED, libc::ECONNRESET));
    assert_eq!(bench.diagnoses().last().unwrap().cause, Cause::PeerReset);
}

#[test]
fn a_reason_without_a_cause_of_its_own_is_explained() {
    let mut bench = Bench::new();
    bench.place(&["sk_skb_reason_drop", "enqueue_to_backlog"]);
    bench.push(&drop_of(SECOND, 68));
    bench.push(&drop_of(2 * SECOND, 68));
    bench.push(&timeout(2 * SECOND + 1, 2, 500));
    let told = bench.diagnoses().pop().expect("a verdict");
    assert_eq!(told.cause, Cause::DroppedHere);
    says(
        &told,
        "CPU_BACKLOG means that more packets waited for one processor than net.core.netdev_max_backlog",
    );
    says(&told, "cat /proc/net/softnet_stat");
}

#[test]
fn the_page_lists_every_reason_that_is_explained() {
    let page = include_str!("../../../../docs/causes/dropped_here.md");
    for meaning in MEANINGS {
        for reason in meaning.reasons {
            assert!(page.contains(&format!("`{reason}`")), "{reason}");
        }
        assert!(page.contains(meaning.what), "{}", meaning.what);
    }
}

/// The receiver's record tells of its peer's packet.
#[test]
fn a_drop_at_the_receiver_is_its_senders_trouble() {
    let mut bench = Bench::new();
    let mut at_peer = drop_of(SECOND, NETFILTER).socket(SK + 64, 43).ends(CLIENT, SERVER);
    put!(at_peer, record.detail.packet_dropped.way, DROPPED_IN);
    bench.push(&at_peer);
    bench.push(&timeout(2 * SECOND, 1, 51));
    let told = bench.only();
    assert_eq!(told.cause, Cause::DroppedByNetfilter);
    says(&told, "drops its packets");
}

/// What TIME_WAIT does with a SYN: it throws it away without a reason, and answers with an ACK.
#[test]
fn what_tcp_throws_away_without_a_reason_is_not_the_hosts_doing() {
    for (stack, cause) in [
        (&["sk_skb_reason_drop", "tcp_v4_rcv"][..], Cause::RetransmissionTimeout),
        (&["sk_skb_reason_drop", "__dev_forward_skb2"], Cause::DroppedHere),
    ] {
        let mut bench = Bench::new();
        bench.place(stack);
        bench.push(&drop_of(SECOND, 2));
        bench.push(&drop_of(2 * SECOND, 2));
        bench.push(&timeout(2 * SECOND + 1, 2, 500));
        assert_eq!(bench.diagnoses().last().expect("a verdict").cause, cause, "{stack:?}");
    }
}

#[test]
fn too_big_for_a_link_of_this_host_is_a_path_mtu() {
    let mut bench = Bench::new();
    bench.place(&["kfree_skb_reason", "ip_forward"]);
    bench.push(&drop_of(SECOND, 71));
    let mut record = timeout(2 * SECOND, 3, 51);
    silence::black_hole(&mut record);
    bench.push(&record);
    let diagnosis = bench.diagnoses().pop().expect("a verdict");
    assert_eq!(diagnosis.cause, Cause::PathMtuBlackHole);
    says(&diagnosis, "the kernel dropped 1 packet of it for PKT_TOO_BIG in network namespace");
}

/// A drop whose reason is not told is what its place says.
#[test]
fn without_a_reason_the_place_tells_who_it_was() {
    for (place, cause, words) in [
        ("inet6_csk_xmit", Cause::NoRoute, "this host has no route (network namespace 4026531840)"),
        ("neigh_invalidate", Cause::NextHopSilent, "the next hop does not answer"),
        ("do_xdp_generic", Cause::DroppedByBpf, "an XDP program of this host"),
        ("__dev_forward_skb2", Cause::DroppedHere, "() means that the device, or the one behind it, is down"),
    ] {
        let mut bench = Bench::new();
        bench.place(&["sk_skb_reason_drop", place]);
        bench.push(&drop_of(SECOND, 2));
        bench.push(&timeout(2 * SECOND, 1, 51));
        let told = bench.only();
        assert_eq!(told.cause, cause, "{place}");
        says(&told, words);
        says(&told, &format!("(1 packet, in {place}())"));
        says(&told, "on this host without giving a reason");
    }
}

#[test]
fn what_still_waits_on_this_host_is_no_answer_missing() {
    for kind in [retransmit::TIMEOUT, retransmit::SYN] {
        let mut bench = Bench::new();
        let mut resend = timeout(SECOND, 1, 51);
        put!(resend, record.detail.retransmit.err, -libc::EBUSY);
        let state = if kind == retransmit::SYN { SYN_SENT } else { ESTABLISHED };
        bench.push(&resend.retransmit(kind).state(state));
        let told = bench.only();
        says(&told, "still waits in a queue of this host after 1 timeout");
        says(&told, "has not answered ARP");
        says_not(&told, "the peer is dead");
        says_not(&told, "down or unreachable");
    }
}

/// Nothing but the sequence number is left of it: only the one that waits for an answer is enough.
#[test]
fn translated_at_both_ends() {
    for (seq, cause) in [(1000_u32, Cause::DroppedByNetfilter), (1001, Cause::RetransmissionTimeout)] {
        let mut bench = Bench::new();
        bench.place(&["nft_do_chain", "nf_hook_slow", "ip_local_deliver"]);
        let mut elsewhere = bare(SECOND, "10.0.0.8:4000", "10.0.0.9:8080");
        put!(elsewhere, record.detail.packet_dropped.flags, HAS_SEGMENT);
        put!(elsewhere, record.detail.packet_dropped.seq, seq);
        bench.push(&elsewhere);
        let mut resend = timeout(2 * SECOND, 1, 51);
        put!(resend, tcp.snd_una, 1000_u32);
        put!(resend, tcp.snd_nxt, 2000_u32);
        put!(resend, tcp.write_seq, 2000_u32);
        bench.push(&resend);
        assert_eq!(bench.only().cause, cause);
    }
}

#[test]
fn in_the_agents_own_namespace_devices_have_names_and_tables_are_known() {
    let settings = |entries| Settings {
        netns: 4_026_531_840,
        values: [("count", entries), ("max", 1000)]
            .map(|(name, value)| (format!("net.netfilter.nf_conntrack_{name}").into(), vec![value]))
            .into(),
        devices: [("eth0".into(), 2)].into(),
    };
    for (entries, full) in [(1000, true), (999, false)] {
        let mut bench = Bench::new();
        bench.fact(&Fact::Settings(settings(entries)));
        bench.place(&["kfree_skb_reason", "nf_hook_slow", "__ip_local_out"]);
        let mut first = drop_of(SECOND, NETFILTER);
        put!(first, record.detail.packet_dropped.ifindex, 2_u32);
        bench.push(&first);
        bench.push(&first);
        bench.push(&timeout(2 * SECOND, 2, 51));
        let told = bench.diagnoses().pop().expect("a verdict");
        assert_eq!(told.cause, Cause::DroppedByNetfilter);
        says(&told, "at its device eth0 (2)");
        let text = "the table of tracked connections has 1000 of 1000 entries";
        if full { says(&told, text) } else { says_not(&told, "tracked connections has") }
    }
}
