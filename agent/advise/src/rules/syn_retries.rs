//! `tcp_syn_retries`: lower where connects waited in vain for long; higher where it hardly tries.

use agent_diagnose::outcomes::{Loss, Waiting};
use agent_model::cause::Cause;
use agent_model::timers::policy::Limit;

use super::{killed, life, mean, recovered, summary, waits};
use crate::{Advice, NetnsView, plural, time};

const NAME: &str = "net.ipv4.tcp_syn_retries";

/// Fewer connects that failed are an accident.
const ENOUGH: usize = 3;

/// Below this a connect gives up within 7 s: one loss of a SYN and of its first repetitions is enough.
const LEAST: u8 = 3;

pub(super) fn rule(place: &NetnsView) -> Vec<Advice> {
    let Some(now) = place.value(NAME).and_then(|now| u8::try_from(now).ok()) else { return Vec::new() };
    let losses = place.losses(is_connect);
    let proposed = match now {
        _ if losses.is_empty() => None,
        0..LEAST => Some(LEAST),
        _ if losses.len() < ENOUGH => None,
        _ => (LEAST..now).find(|&retries| {
            killed(place.recoveries(Waiting::Syn), place.rto_max(), limit(place, retries)) == 0
        }),
    };
    proposed.map(|proposed| advice(place, &losses, now, proposed)).into_iter().collect()
}

fn is_connect(loss: &Loss) -> bool {
    loss.cause == Cause::ConnectTimeout
}

fn limit(place: &NetnsView, retries: u8) -> Limit {
    let linear = place.value("net.ipv4.tcp_syn_linear_timeouts").unwrap_or(0);
    Limit::Syn { retries, linear: linear.try_into().unwrap_or(u8::MAX) }
}

fn advice(place: &NetnsView, losses: &[&Loss], now: u8, proposed: u8) -> Advice {
    let then = life(1000, place.rto_max(), limit(place, proposed)).gives_up.0;
    let recovered = recovered(summary(place.recoveries(Waiting::Syn)));
    let risk = if proposed < now {
        "a peer that needs longer to answer is given up (RFC 1122 asks for 3 minutes, which no kernel's default keeps)"
    } else {
        "programs wait longer for a host that is not there"
    };
    Advice {
        setting: NAME.to_owned(),
        netns: Some(place.netns),
        now: Some(now.to_string()),
        proposed: proposed.to_string(),
        observation: format!(
            "{} waited {} in vain",
            plural(losses.len() as u64, "connect"),
            time(mean(&waits(losses)))
        ),
        effect: format!("{recovered}; tcp_syn_retries={proposed} gives a connect up after {}", time(then)),
        risk: risk.to_owned(),
        command: place.command(NAME, &proposed.to_string()),
    }
}
