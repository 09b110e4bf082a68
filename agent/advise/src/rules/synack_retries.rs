//! `tcp_synack_retries`: lower where half-open connections that never complete fill their queue.

use std::time::Duration;

use agent_model::cause::Cause;
use agent_model::timers::schedule::synack;

use crate::{Advice, NetnsView, amount, time};

const NAME: &str = "net.ipv4.tcp_synack_retries";

/// 7 s: two losses of the SYN-ACK in a row are survived.
const PROPOSED: u8 = 2;

pub(super) fn rule(place: &NetnsView) -> Vec<Advice> {
    let dropped = place.counter("TCPReqQFullDrop");
    let full = dropped.max(place.deaths(Cause::SynQueueFull));
    let now = place.value(NAME).and_then(|now| u8::try_from(now).ok());
    let Some(now) = now.filter(|now| full > 0 && *now > PROPOSED) else { return Vec::new() };
    let waits = |retries| synack(retries, place.rto_max()).gives_up.0;
    vec![Advice {
        setting: NAME.to_owned(),
        netns: Some(place.netns),
        now: Some(now.to_string()),
        proposed: PROPOSED.to_string(),
        observation: format!(
            "{} for want of room for half-open connections",
            amount(full, "SYN was dropped", "SYNs were dropped")
        ),
        effect: format!(
            "one that never completes leaves its place after {} instead of {}: room for {:.0} times as many",
            time(waits(PROPOSED)),
            time(waits(now)),
            ratio(waits(now), waits(PROPOSED)),
        ),
        risk: "clients on very lossy paths fail to connect".to_owned(),
        command: place.command(NAME, &PROPOSED.to_string()),
    }]
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64().max(1e-9)
}
