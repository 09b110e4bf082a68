//! Keepalive: sooner where it found dead peers, but hours late.

use std::time::Duration;

use agent_model::cause::Cause;
use agent_model::timers::schedule::keepalive;

use crate::{Advice, NetnsView, plural, time};

/// Idle time, interval (s) and probes proposed: a dead peer is found in 15 minutes.
const PROPOSED: (u64, u64, u8) = (600, 60, 5);

pub(super) fn rule(place: &NetnsView) -> Vec<Advice> {
    let deaths = place.deaths(Cause::KeepaliveTimeout);
    let value = |name: &str| place.value(&format!("net.ipv4.tcp_keepalive_{name}"));
    let now = (value("time"), value("intvl"), value("probes"));
    let (Some(idle), Some(interval), Some(probes)) = now else { return Vec::new() };
    let found = finds(idle, interval, probes.try_into().unwrap_or(u8::MAX));
    let would = finds(PROPOSED.0, PROPOSED.1, PROPOSED.2);
    if deaths == 0 || found <= would * 2 {
        return Vec::new();
    }
    let (name, value) = ("net.ipv4.tcp_keepalive_time", PROPOSED.0.to_string());
    let rest = format!(
        " && {} && {}",
        place.command("net.ipv4.tcp_keepalive_intvl", &PROPOSED.1.to_string()),
        place.command("net.ipv4.tcp_keepalive_probes", &PROPOSED.2.to_string())
    );
    vec![Advice {
        setting: name.to_owned(),
        netns: Some(place.netns),
        now: Some(format!("{idle} s, then {probes} times {interval} s")),
        proposed: format!("{} s, then {} times {} s", PROPOSED.0, PROPOSED.2, PROPOSED.1),
        observation: format!(
            "{} ended by keepalive, {} after the peer was last heard",
            plural(deaths, "connection"),
            time(found)
        ),
        effect: format!(
            "a dead peer is found after {}, {} sooner",
            time(would),
            time(found.saturating_sub(would))
        ),
        risk:
            "a packet every 10 minutes for each idle connection with SO_KEEPALIVE; a peer that is away for \
            15 minutes loses them"
                .to_owned(),
        command: place.command(name, &value) + &rest,
    }]
}

fn finds(idle: u64, interval: u64, probes: u8) -> Duration {
    keepalive(Duration::from_secs(idle), Duration::from_secs(interval), probes, None).gives_up.0
}
