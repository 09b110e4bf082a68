use std::time::Duration;

use agent_model::event::{RetransmitKind, TcpState};
use agent_model::signals::Recovered;
use agent_model::signals::retransmit::Resend;

use super::super::timeline::What;
use super::*;

#[test]
fn a_dead_link_doubles_its_timeout() {
    let mut bench = Bench::new();
    let stages = [(1, 51, 204), (2, 102, 408), (3, 204, 816)];
    for (stage, jiffies, millis) in stages {
        let observed = bench.see(&timeout(u64::from(stage) * SECOND, stage, jiffies));
        assert_eq!(observed.stage, Some(stage.into()));
        assert_eq!(observed.rto, Some(Duration::from_millis(millis)));
        assert_eq!(observed.realtime, i64::from(stage) * 1_000_000_000 + 1_000);
    }
    let connection = bench.only();
    assert!(connection.is_stalled());
    assert_eq!(connection.totals().segments[usize::from(retransmit::TIMEOUT)], 3);
    let what = connection.timeline.entries()[2].what;
    let kind = RetransmitKind::Timeout;
    assert_eq!(what, What::Retransmit(Resend { kind, stage: 3, err: 0, segments: 1, rto: 204 }));
    assert_eq!(connection.timeline.entries()[2].unacked, 1448);
}

#[test]
fn an_acknowledgement_ends_the_stall() {
    let mut bench = Bench::new();
    bench.push(&timeout(SECOND, 1, 51));
    bench.push(&timeout(2 * SECOND, 2, 102));
    let mut fast = timeout(3 * SECOND, 0, 51).retransmit(retransmit::FAST);
    put!(fast, tcp.snd_una, 1448_u32);
    assert_eq!(bench.see(&fast).stage, None);
    let connection = bench.only();
    assert!(!connection.is_stalled());
    let story: Vec<_> = connection.timeline.entries().iter().map(|entry| entry.what).collect();
    assert_eq!(story[2], What::Recovered(Recovered { stage: 2 }));
    assert_eq!(story.len(), 4);
}

#[test]
fn a_walk_sees_the_recovery_too() {
    let mut bench = Bench::new();
    bench.push(&timeout(SECOND, 3, 250).owner(5, "curl", owner::CONNECT));
    // The next timeout would come after 2 s.
    assert!(!bench.0.wants_walk(3 * SECOND));
    assert!(bench.0.wants_walk(4 * SECOND));
    let mut held = record(signal::SOCK_HELD, 4 * SECOND).held(5, "curl", 1, 3);
    put!(held, tcp.snd_una, 2448_u32);
    bench.push(&held);
    bench.fact(&Fact::WalkDone { time: 4 * SECOND + 1 });
    assert!(!bench.0.wants_walk(5 * SECOND));
    assert_eq!(bench.0.stalled().count(), 0);
    let last = bench.only().timeline.last().unwrap().what;
    assert_eq!(last, What::Recovered(Recovered { stage: 3 }));
}

#[test]
fn a_syn_without_an_answer() {
    let mut bench = Bench::new();
    let syn = timeout(SECOND, 1, 250).retransmit(retransmit::SYN).state(SYN_SENT);
    let observed = bench.see(&syn);
    assert_eq!((observed.stage, observed.rto), (Some(1), Some(Duration::from_secs(1))));
    let mut end = record(signal::STATE_CHANGED, 3 * SECOND).change(SYN_SENT, CLOSE);
    put!(end, tcp.err, 110_i32);
    put!(end, tcp.total_retrans, 1_u32);
    bench.push(&end);
    let connection = bench.only();
    assert_eq!((connection.error, connection.died()), (110, Some(3 * SECOND)));
    assert_eq!(connection.live_state, Some(TcpState::SynSent));
    assert_eq!(connection.state, Some(TcpState::Close));
}

#[test]
fn a_syn_ack_without_an_answer() {
    let mut bench = Bench::new();
    bench.push(&listen(1, 0x1000, "0.0.0.0:80"));
    let mut synack = RecordBytes::plain(signal::SYNACK_RETRANSMIT, SECOND).socket(0x1000, 0).state(12);
    synack = synack.ends("10.0.0.1:80", "10.0.0.9:5555").flags(REQUEST).owner(100, "nginx", owner::LISTEN);
    put!(synack, record.detail.synack_retransmit.retransmits, 2_u8);
    put!(synack, record.detail.synack_retransmit.timeouts, 2_u8);
    put!(synack, record.detail.synack_retransmit.accept_queue, 129_u32);
    put!(synack, record.detail.synack_retransmit.backlog, 128_u32);
    let observed = bench.see(&synack);
    assert_eq!((observed.stage, observed.rto), (Some(3), Some(Duration::from_secs(4))));
    assert_eq!(observed.connection, None);
    let owner = observed.owner.as_ref().unwrap();
    assert_eq!((owner.process.pid, owner.source), (100, OwnerSource::Listener));
    let listener = observed.listener.somebody().unwrap();
    assert_eq!((listener.accept_queue, listener.backlog, listener.synack_retransmits), (129, 128, 1));
    put!(synack, record.detail.synack_retransmit.timeouts, 127_u8);
    assert_eq!(bench.see(&synack).rto, Some(Duration::from_mins(2)));
}

#[test]
fn runs_of_recovery_are_one_entry() {
    let mut bench = Bench::new();
    for i in 1..=1000 {
        bench.push(&timeout(i * SECOND / 1000, 0, 51).retransmit(retransmit::FAST));
    }
    let connection = bench.only();
    let [entry] = connection.timeline.entries()[..] else { panic!("{:?}", connection.timeline) };
    assert_eq!((entry.count, entry.span_ms, connection.events), (1000, 999, 1000));
}
