//! `tcp_max_syn_backlog`: where half-open connections did not fit.

use agent_model::cause::Cause;

use crate::{Advice, NetnsView, plural};

const NAME: &str = "net.ipv4.tcp_max_syn_backlog";

pub(super) fn rule(place: &NetnsView) -> Vec<Advice> {
    let (dropped, cookies) = (place.counter("TCPReqQFullDrop"), place.counter("TCPReqQFullDoCookies"));
    let full = place.deaths(Cause::SynQueueFull);
    let Some(now) = place.value(NAME).filter(|_| dropped + cookies + full > 0) else { return Vec::new() };
    let proposed = (now * 4).min(65_536).max(now);
    if proposed == now {
        return Vec::new();
    }
    vec![Advice {
        setting: NAME.to_owned(),
        netns: Some(place.netns),
        now: Some(now.to_string()),
        proposed: proposed.to_string(),
        observation: format!(
            "the queue of half-open connections was full: {} dropped, {} answered with a cookie, {} failed",
            plural(dropped, "SYN"),
            cookies,
            plural(full, "connection"),
        ),
        effect: format!(
            "room for {} times as many half-open connections, as far as the listener's backlog allows it too",
            proposed / now.max(1)
        ),
        risk: "under a SYN flood the queue holds more of what never completes (about 300 bytes each)"
            .to_owned(),
        command: place.command(NAME, &proposed.to_string()),
    }]
}
