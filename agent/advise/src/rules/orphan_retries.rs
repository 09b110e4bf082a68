//! `tcp_orphan_retries`: lower where closed sockets whose peers are gone crowd out others.

use agent_diagnose::outcomes::{Loss, Waiting};
use agent_model::cause::Cause;
use agent_model::timers::policy::Limit;

use super::{killed, life, mean, recovered, summary, waits};
use crate::{Advice, NetnsView, plural, time};

const NAME: &str = "net.ipv4.tcp_orphan_retries";

/// What 0 stands for (`tcp_orphan_retries`).
const DEFAULT: u8 = 8;

/// T(3) is 3 s: a FIN may be lost more than once.
const LEAST: u8 = 3;

pub(super) fn rule(place: &NetnsView) -> Vec<Advice> {
    let Some(set) = place.value(NAME).and_then(|now| u8::try_from(now).ok()) else { return Vec::new() };
    let losses = place.losses(is_orphan);
    let crowded = place.gathered.memory.as_ref().is_some_and(|memory| {
        memory.max_orphans > 0 && memory.orphans.saturating_mul(2) >= memory.max_orphans
    });
    if losses.is_empty() || !(crowded || place.deaths(Cause::TooManyOrphans) > 0) {
        return Vec::new();
    }
    let now = if set == 0 { DEFAULT } else { set };
    let kills = |retries| killed(place.recoveries(Waiting::Orphan), place.rto_max(), limit(retries));
    let proposed = (LEAST..now).find(|&retries| kills(retries) == 0);
    proposed.map(|proposed| advice(place, &losses, set, proposed)).into_iter().collect()
}

fn is_orphan(loss: &Loss) -> bool {
    loss.cause == Cause::OrphanTimeout && loss.waiting == Waiting::Orphan
}

fn limit(retries: u8) -> Limit {
    Limit::Orphan { retries, soft_error: false }
}

fn advice(place: &NetnsView, losses: &[&Loss], now: u8, proposed: u8) -> Advice {
    let then = |loss: &&Loss| life(loss.rto_ms, place.rto_max(), limit(proposed)).gives_up.0;
    let then: Vec<_> = losses.iter().map(then).collect();
    let recovered = recovered(summary(place.recoveries(Waiting::Orphan)));
    Advice {
        setting: NAME.to_owned(),
        netns: Some(place.netns),
        now: Some(now.to_string()),
        proposed: proposed.to_string(),
        observation: format!(
            "{} held memory for {} until given up, and closed sockets are near tcp_max_orphans or past it",
            plural(losses.len() as u64, "closed socket"),
            time(mean(&waits(losses))),
        ),
        effect: format!("{recovered}; each would be gone after {}", time(mean(&then))),
        risk: "a slow peer may not get the last data of a connection that was closed".to_owned(),
        command: place.command(NAME, &proposed.to_string()),
    }
}
