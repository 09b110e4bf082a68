//! `tcp_retries2`: lower where connections stayed dead for long and nobody recovered that late; higher where it
//! is below what RFC 1122 asks for and connections died of it.

use std::time::Duration;

use agent_diagnose::outcomes::{Loss, Waiting};
use agent_model::cause::Cause;
use agent_model::timers::policy::{Limit, hypothetical_timeout};

use super::{killed, life, mean, recovered, summary, waits};
use crate::{Advice, NetnsView, plural, time};

const NAME: &str = "net.ipv4.tcp_retries2";

/// RFC 1122 §4.2.3.5: R2 of data should be at least this.
const RFC_1122: Duration = Duration::from_secs(100);

/// The kernel's own default.
const DEFAULT: u8 = 15;

pub(super) fn rule(place: &NetnsView) -> Vec<Advice> {
    let Some(now) = place.value(NAME).and_then(|now| u8::try_from(now).ok()) else { return Vec::new() };
    let losses = place.losses(is_silence);
    let Some(floor) = floor(place.rto_max()).filter(|_| !losses.is_empty()) else { return Vec::new() };
    let proposed = if now < floor { Some(floor) } else { lower(place, floor, now) };
    proposed.map(|proposed| advice(place, &losses, now, proposed)).into_iter().collect()
}

fn is_silence(loss: &Loss) -> bool {
    loss.cause == Cause::RetransmissionTimeout && loss.waiting == Waiting::Data
}

/// The smallest value that keeps to the RFC: 8, unless `rto_max` was lowered.
fn floor(rto_max: Duration) -> Option<u8> {
    (0..=DEFAULT).find(|&retries| hypothetical_timeout(retries, rto_max) >= RFC_1122)
}

/// The smallest value below `now` that would have killed nobody who recovered.
fn lower(place: &NetnsView, floor: u8, now: u8) -> Option<u8> {
    (floor..now).find(|&retries| {
        killed(place.recoveries(Waiting::Data), place.rto_max(), Limit::Retries2(retries)) == 0
    })
}

fn advice(place: &NetnsView, losses: &[&Loss], now: u8, proposed: u8) -> Advice {
    let would = |loss: &&Loss| life(loss.rto_ms, place.rto_max(), Limit::Retries2(proposed)).gives_up.0;
    let (then, waits) = (losses.iter().map(would).collect::<Vec<_>>(), waits(losses));
    let sooner: Vec<_> = waits.iter().zip(&then).map(|(lived, then)| lived.saturating_sub(*then)).collect();
    let count = plural(losses.len() as u64, "connection");
    let recovered = recovered(summary(place.recoveries(Waiting::Data)));
    let killed = killed(place.recoveries(Waiting::Data), place.rto_max(), Limit::Retries2(proposed));
    let (effect, risk) = if proposed < now {
        (
            format!(
                "would have ended the {} {} sooner each and killed {} that recovered",
                plural(losses.len() as u64, "dead connection"),
                time(mean(&sooner)),
                if killed == 0 { "none".to_owned() } else { killed.to_string() },
            ),
            "a peer that is away for longer, behind a router that restarts, loses its connections",
        )
    } else {
        (
            format!(
                "would have given the peers {} to come back instead of {}",
                time(mean(&then)),
                time(mean(&waits))
            ),
            "programs learn later that a peer is dead; those that must know soon set TCP_USER_TIMEOUT",
        )
    };
    Advice {
        setting: NAME.to_owned(),
        netns: Some(place.netns),
        now: Some(now.to_string()),
        proposed: proposed.to_string(),
        observation: format!("{count} died of it, after {} without an answer", time(mean(&waits))),
        effect: format!("{recovered}; tcp_retries2={proposed} {effect}"),
        risk: format!(
            "{risk} (RFC 1122 asks for 100 s at least, which is {})",
            floor(place.rto_max()).unwrap_or(8)
        ),
        command: place.command(NAME, &proposed.to_string()),
    }
}
