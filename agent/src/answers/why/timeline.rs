//! An entry of the timeline in words.

use agent_correlate::Correlator;
use agent_correlate::timeline::{Entry, What};
use agent_model::event::RetransmitKind;
use agent_model::units::from_jiffies;
use agent_model::words;
use jiff::Timestamp;

use super::{Happening, HappeningKind};

/// `first` is the time of the first entry.
pub(super) fn happening(correlator: &Correlator, entry: &Entry, first: u64) -> Happening {
    let (stage, rto) = match entry.what {
        What::Retransmit { stage, rto, .. } if stage > 0 => {
            (Some(stage.into()), from_jiffies(rto, correlator.host().hz))
        }
        What::SynackRetransmit { stage, .. } => (Some(stage.into()), None),
        _ => (None, None),
    };
    let realtime = correlator.realtime(entry.time);
    Happening {
        time: Timestamp::from_nanosecond(realtime.into()).unwrap_or(Timestamp::UNIX_EPOCH),
        after_ms: entry.time.saturating_sub(first) / 1_000_000,
        count: entry.count,
        event: sort(entry.what),
        text: text(correlator, entry),
        states: match entry.what {
            What::StateChanged { old, new, .. } => Some((old, new)),
            _ => None,
        },
        stage,
        rto_ms: rto.map(|rto| u64::try_from(rto.as_millis()).unwrap_or(u64::MAX)),
        unacked_bytes: entry.unacked,
        unsent_bytes: entry.unsent,
        unread_bytes: entry.unread,
        window_bytes: entry.window,
    }
}

fn sort(what: What) -> HappeningKind {
    match what {
        What::Retransmit { .. } => HappeningKind::Retransmit,
        What::SynackRetransmit { .. } => HappeningKind::SynackRetransmit,
        What::ResetSent { .. } => HappeningKind::ResetSent,
        What::ResetReceived { .. } => HappeningKind::ResetReceived,
        What::BufLimitExceeded { .. } => HappeningKind::BufLimitExceeded,
        What::RcvqueueFull => HappeningKind::RcvqueueFull,
        What::PacketDropped { .. } => HappeningKind::PacketDropped,
        What::StateChanged { .. } => HappeningKind::StateChanged,
        What::Recovered { .. } => HappeningKind::Recovered,
        What::SockDestroyed => HappeningKind::SockDestroyed,
    }
}

fn text(correlator: &Correlator, entry: &Entry) -> String {
    match entry.what {
        What::Retransmit { kind, err, segments, .. } => retransmit(kind, err, segments),
        What::SynackRetransmit { accept_queue, backlog, .. } => {
            format!("SYN-ACK again, accept queue {accept_queue} of {backlog}")
        }
        What::ResetSent { reason, active, state, exit, .. } => {
            let name = reason.and_then(|reason| correlator.host().reset_reasons.get(&i32::from(reason)));
            let side = if active { "" } else { " in answer" };
            let state = state.map_or("no socket", words::state);
            let name = name.map_or("no reason told", |name| name);
            let exit = exit.map(|exit| format!(", process {}", words::ended(exit)));
            format!("reset sent{side} in {state}: {name}{}", exit.unwrap_or_default())
        }
        What::ResetReceived { state } => {
            format!("reset received in {}", state.map_or("no state", words::state))
        }
        What::BufLimitExceeded { direction, allocated, .. } => {
            format!("memory to {} refused, TCP has {allocated} pages", words::direction(direction))
        }
        What::PacketDropped { reason } => {
            let name = correlator.host().drop_reasons.get(&i32::from(reason));
            format!("segment dropped: {}", name.map_or("no reason told", |name| name))
        }
        What::RcvqueueFull => "receive queue full".to_owned(),
        What::StateChanged { old, new, err } => {
            let error = if err == 0 { String::new() } else { format!(" with {}", words::errno(err.into())) };
            format!("{} > {}{error}", words::state(old), words::state(new))
        }
        What::Recovered { stage } => format!("acknowledged after {stage} timeouts"),
        What::SockDestroyed => "socket gone".to_owned(),
    }
}

fn retransmit(kind: RetransmitKind, err: i16, segments: u16) -> String {
    let failed = match err {
        0 => String::new(),
        1 => ", dropped by the local queue".to_owned(),
        errno => format!(", not sent: {}", words::errno(errno.into())),
    };
    let many = if segments == 1 { String::new() } else { format!(", {segments} segments") };
    format!("retransmit {}{many}{failed}", words::kind(kind))
}
