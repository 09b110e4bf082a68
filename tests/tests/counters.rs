//! The agent's counts against the kernel's own: records by namespace, metrics by the whole host.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tests::agent::event::Event;
use tests::agent::metrics::Metrics;
use tests::agent::{Agent, agent};
use tests::link::{Family, Pair};
use tests::live::{self, Silent, Watched, named};
use tests::netns::Netns;
use tests::scenes::retransmit::Resent;
use tests::scenes::{memory, reset, retransmit};

/// One test of this file at a time, so that what a metric grows by is this test's own.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How much metrics grew. The rest of the host may add to them: what is asserted is a lower bound.
struct Growth(Metrics);

impl Growth {
    fn new() -> Self {
        Self(agent().metrics())
    }

    /// Whether a counter has grown by `count`. Programs count before the scene's own counters are read.
    fn reached(&self, name: &str, labels: &[(&str, &str)], count: u64) -> Result<(), Silent> {
        let before = self.0.sum(name, labels).unwrap_or_default() as u64;
        if agent().metrics().count(name, labels) - before < count { Err(Silent) } else { Ok(()) }
    }
}

#[test]
fn resends_of_a_namespace_add_up_to_its_retrans_segs() {
    let _alone = alone();
    live::each(|family| {
        let watched = Watched::new(Pair::new());
        let resent = retransmit::lossy_transfer(&watched.pair, family);
        let events = watched.so_far(resent.side);
        let resends = named(&events, "retransmit");
        let segments: u64 = resends.iter().map(|event| event.number("/retransmit/segments")).sum();
        let last = resends.last().ok_or(Silent)?;
        assert_eq!(totals(last), segments, "the connection's own totals agree: {last:?}");
        if segments < resent.snmp.get("TcpRetransSegs") {
            return Err(Silent);
        }
        assert_eq!(segments, resent.snmp.get("TcpRetransSegs"));
        Ok(())
    });
}

/// Segments of every kind, failures aside, in the totals of a line.
fn totals(event: &Event) -> u64 {
    let kinds =
        event.find("/totals/segments").and_then(serde_json::Value::as_object).expect("totals by kind");
    kinds.values().filter_map(serde_json::Value::as_u64).sum()
}

/// Asserts by how many segments the metrics of a kind grow in a scene.
fn assert_growth(kind: &str, count: u64, scene: impl Fn() -> Resent) {
    live::insist(|| {
        let growth = Growth::new();
        scene();
        growth.reached("tcpwhy_retransmitted_segments_total", &[("kind", kind)], count)
    });
}

#[test]
fn metrics_of_resends_grow_by_kind() {
    let _alone = alone();
    let family = Family::V4;
    assert_growth("timeout", 3, || retransmit::timeouts(&Pair::without_probes(), family, 2));
    assert_growth("tail_loss_probe", 1, || retransmit::tail_loss_probe(&Pair::new(), family));
    assert_growth("fast", 1, || retransmit::fast(&Pair::new(), family));
    assert_growth("slow_start", 9, || retransmit::slow_start(&Pair::without_probes(), family));
    assert_growth("syn", 1, || retransmit::syn(&Pair::new(), family));
    assert_growth("synack", 1, || retransmit::synack(&Pair::new(), family));
}

#[test]
fn failures_are_counted_apart() {
    let _alone = alone();
    live::insist(|| {
        let growth = Growth::new();
        let resent = retransmit::refused(&Pair::without_probes(), Family::V4, 2);
        let failed = resent.snmp.get("TcpExtTCPRetransFail");
        growth.reached("tcpwhy_retransmit_failures_total", &[("kind", "timeout")], failed)
    });
}

#[test]
fn metrics_of_resets_grow_by_reason_and_state() {
    let _alone = alone();
    let growth = Growth::new();
    reset::no_socket(&Pair::new(), Family::V4);
    reset::abort_on_close(&Pair::new(), Family::V6, 10);
    growth.reached("tcpwhy_resets_sent_total", &[("reason", "NO_SOCKET")], 1).expect("no timer is involved");
    growth
        .reached("tcpwhy_resets_sent_total", &[("reason", "TCP_ABORT_ON_CLOSE")], 1)
        .expect("no timer is involved");
    growth
        .reached("tcpwhy_resets_received_total", &[("state", "SYN_SENT")], 1)
        .expect("no timer is involved");
    growth
        .reached("tcpwhy_resets_received_total", &[("state", "ESTABLISHED")], 1)
        .expect("no timer is involved");
}

#[test]
fn metrics_of_a_full_queue_grow_by_each_packet() {
    let _alone = alone();
    let growth = Growth::new();
    let full = memory::rcvqueue_full(&Pair::new(), Family::V4);
    growth.reached("tcpwhy_rcvqueue_full_total", &[], full.refused).expect("no timer is involved");
}

#[test]
fn a_burst_of_resets_is_counted_to_the_last() {
    let _alone = alone();
    let watched = Watched::new(Pair::new());
    let burst = reset::burst(&watched.pair, Family::V4, 2000);
    let events = watched.so_far(burst.sender);
    let sent = named(&events, "reset_sent");
    let reported: u64 = sent.iter().map(|event| event.stands_for()).sum();
    assert_eq!(reported, burst.snmp.get("TcpOutRsts"), "lines stand for every reset, coalesced or not");
}

#[test]
fn nothing_was_lost() {
    let _alone = alone();
    retransmit::tail_loss_probe(&Pair::new(), Family::V4);
    assert_eq!(agent().metrics().count("tcpwhy_records_lost_total", &[]), 0);
}

/// The difference that an agent inside `netns` finds to the kernel's `counter`.
fn difference(agent: &Agent, netns: &Netns, counter: &str) -> i64 {
    let metrics = netns.run(|| agent.metrics());
    metrics.sum("tcpwhy_snmp_difference", &[("counter", counter)]).expect("a comparison") as i64
}

#[test]
fn no_reset_that_the_kernel_counts_is_missing() {
    let _alone = alone();
    let pair = Pair::new();
    let agent = Agent::start_in(&pair.server, "reconcile-resets", &[]);
    let burst = reset::burst(&pair, Family::V4, 2000);
    let aborted = reset::abort_on_close(&pair, Family::V6, 10);
    assert!(burst.snmp.get("TcpOutRsts") + aborted.snmp.get("TcpOutRsts") >= 2001);
    assert_eq!(difference(&agent, &pair.server, "OutRsts"), 0);
}

/// Timers, acknowledgements and half-open connections; what fails to leave is on neither side.
#[test]
fn no_segment_that_the_kernel_sends_again_is_missing() {
    let _alone = alone();
    live::each(|family| {
        let pair = Pair::without_probes();
        let [client, server] = [(&pair.client, "client"), (&pair.server, "server")]
            .map(|(host, name)| Agent::start_in(host, &format!("reconcile-{name}-{}", family.name()), &[]));
        retransmit::timeouts(&pair, family, 2);
        retransmit::slow_start(&pair, family);
        retransmit::refused(&pair, family, 2);
        let synack = retransmit::synack(&pair, family);
        assert!(synack.snmp.get("TcpRetransSegs") > 0);
        let left = [(&client, &pair.client), (&server, &pair.server)]
            .map(|(agent, host)| difference(agent, host, "RetransSegs"));
        if left.iter().any(|left| *left > 0) {
            return Err(Silent);
        }
        assert_eq!(left, [0, 0]);
        Ok(())
    });
}
