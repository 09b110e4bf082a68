//! Segments sent again, by kind, and what is counted of them.

use agent_model::counters::Counters as _;
use agent_model::event::{Detail, KernelEvent, OwnerSource, RetransmitKind, TcpState};
use agent_model::signals::{Retransmit, SynackRetransmit};

use agent_common::signal;
use tests::netns::Netns;
use tests::scenes::retransmit;
use tests::scenes::retransmit::Resent;

use crate::owners::is_ours;
use crate::watch::kind;
use crate::watch::{self, watch};

fn of_kind(netns: &Netns, wanted: RetransmitKind) -> Vec<KernelEvent> {
    let events = watch().settled(netns);
    events.into_iter().filter(|event| kind(event) == Some(wanted)).collect()
}

/// Each expiry comes after twice the time of the one before, and what is read says so: the timeout that
/// fired, not the next one.
#[test]
fn timeouts_double() {
    watch::each(|family| {
        let pair = watch::pair_without_probes();
        let resent = retransmit::timeouts(&pair, family, 3);
        let events = of_kind(&pair.client, RetransmitKind::Timeout);
        assert_eq!(events.len() as u64, resent.snmp.get("TcpRetransSegs"));
        let sockets: Vec<_> = events.iter().map(|event| event.tcp.expect("a full socket").raw).collect();
        for (index, (pair, tcp)) in events.windows(2).zip(sockets.windows(2)).enumerate() {
            assert_eq!(tcp[1].rto, 2 * tcp[0].rto);
            assert_eq!(usize::from(tcp[0].retransmits), index + 1);
            let waited = (pair[1].time - pair[0].time) as f64 / 1e9;
            let timeout = f64::from(tcp[1].rto) / f64::from(watch().host().hz);
            assert!((timeout * 0.9..timeout + 0.5).contains(&waited), "{waited} s after {timeout} s");
        }
        assert!(events.iter().all(|event| event.current.is_none()), "a timer has no task");
        let owned = |event: &KernelEvent| is_ours(event.owner.as_ref(), OwnerSource::Connect);
        assert!(
            events.iter().all(owned),
            "{:?}",
            events.iter().map(|event| &event.owner).collect::<Vec<_>>()
        );
    });
}

#[test]
fn a_lost_syn_is_sent_again() {
    watch::each(|family| {
        let pair = watch::pair();
        let resent = retransmit::syn(&pair, family);
        let events = of_kind(&pair.client, RetransmitKind::Syn);
        assert_eq!(events.len() as u64, resent.snmp.get("TcpExtTCPSynRetrans"));
        assert_eq!(events[0].endpoint.state, Some(TcpState::SynSent));
        assert_eq!(
            (events[0].endpoint.local, events[0].endpoint.remote),
            (resent.side.local, resent.side.remote)
        );
        assert!(is_ours(events[0].owner.as_ref(), OwnerSource::Connect), "{:?}", events[0].owner);
    });
}

#[test]
fn a_lost_handshake_repeats_the_synack() {
    watch::each(|family| {
        let pair = watch::pair();
        let resent = retransmit::synack(&pair, family);
        let event = watch().some(&pair.server, "synack_retransmit", |event| {
            matches!(event.detail, Detail::SynackRetransmit(_)).then(|| event.clone())
        });
        assert!(
            matches!(
                event.detail,
                Detail::SynackRetransmit(SynackRetransmit { retransmits: 0, backlog: 128, .. })
            ),
            "{event:?}"
        );
        assert_eq!((event.endpoint.local, event.endpoint.remote), (resent.side.local, resent.side.remote));
        assert!(event.endpoint.request);
    });
}

#[test]
fn one_lost_segment_is_sent_again_fast() {
    watch::each(|family| {
        let pair = watch::pair();
        assert_kinds(&pair.client, &retransmit::fast(&pair, family));
    });
}

#[test]
fn the_last_segment_is_probed() {
    watch::each(|family| {
        let pair = watch::pair();
        assert_kinds(&pair.client, &retransmit::tail_loss_probe(&pair, family));
    });
}

#[test]
fn a_lost_window_restarts_slowly() {
    watch::each(|family| {
        let pair = watch::pair_without_probes();
        assert_kinds(&pair.client, &retransmit::slow_start(&pair, family));
    });
}

/// Each kind of retransmission as often as the kernel counts it. Not as often as the scene means it: on a
/// slow machine a timer may come first.
fn assert_kinds(netns: &Netns, resent: &Resent) {
    let events = watch().settled(netns);
    let kinds: Vec<_> = events.iter().filter_map(kind).collect();
    let count = |wanted: &[RetransmitKind]| kinds.iter().filter(|kind| wanted.contains(kind)).count() as u64;
    assert!(!kinds.is_empty());
    for (counter, wanted) in [
        // The reordering timer's are counted with those that ACKs clock.
        ("TcpExtTCPFastRetrans", &[RetransmitKind::Fast, RetransmitKind::Reorder][..]),
        ("TcpExtTCPLossProbes", &[RetransmitKind::TailLossProbe]),
        ("TcpExtTCPSlowStartRetrans", &[RetransmitKind::SlowStart]),
        ("TcpExtTCPTimeouts", &[RetransmitKind::Timeout]),
    ] {
        assert_eq!(
            count(wanted),
            resent.snmp.get(counter),
            "{counter}: {:?} {events:#?}",
            resent.snmp.changed()
        );
    }
}

/// Segments counted in the kernel map, segments sent through the ring, and the kernel's own count agree.
#[test]
fn what_is_counted_is_what_was_recorded() {
    watch::each(|family| {
        let pair = watch::pair();
        let before = counted(&pair.client);
        let resent = retransmit::lossy_transfer(&pair, family);
        let events = watch().settled(&pair.client);
        let after = counted(&pair.client);
        let parts: Vec<_> = events.iter().filter_map(segments).collect();
        let sum =
            |parts: &mut dyn Iterator<Item = &(u64, i32)>| parts.map(|(segments, _)| segments).sum::<u64>();
        assert_eq!((parts.len() as u64, sum(&mut parts.iter())), (after.0 - before.0, after.1 - before.1));
        // From 6.17 on attempts that failed are recorded as well.
        let sent = sum(&mut parts.iter().filter(|(_, err)| *err == 0));
        assert_eq!(sent, resent.total(), "{events:#?}");
    });
}

/// Retransmissions of a namespace, or of the one that had its inode before: events and segments.
fn counted(netns: &Netns) -> (u64, u64) {
    let counts = watch().counters().counts().expect("read COUNTS");
    let own = counts.iter().filter(|(key, _)| u64::from(key.netns) == netns.inode());
    let retransmits = own.filter(|(key, _)| key.signal == signal::RETRANSMIT);
    retransmits
        .fold((0, 0), |(events, segments), (_, count)| (events + count.events, segments + count.segments))
}

/// How many, and whether they were sent.
fn segments(event: &KernelEvent) -> Option<(u64, i32)> {
    if let Detail::Retransmit(Retransmit { segments, err, .. }) = event.detail {
        Some((segments.into(), err))
    } else {
        None
    }
}
