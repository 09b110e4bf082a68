//! `nf_conntrack_max`: where the table of tracked connections is all but full, and the next ones are dropped.

use crate::{Advice, NetnsView};

const COUNT: &str = "net.netfilter.nf_conntrack_count";
const MAX: &str = "net.netfilter.nf_conntrack_max";
/// Of the table, from which on it is said.
const PERCENT: u64 = 90;

pub(super) fn rule(place: &NetnsView) -> Vec<Advice> {
    let (Some(count), Some(now)) = (place.value(COUNT), place.value(MAX)) else { return Vec::new() };
    if now == 0 || count.saturating_mul(100) < now.saturating_mul(PERCENT) {
        return Vec::new();
    }
    let proposed = now.saturating_mul(2);
    vec![Advice {
        setting: MAX.to_owned(),
        netns: Some(place.netns),
        now: Some(now.to_string()),
        proposed: proposed.to_string(),
        observation: format!(
            "{count} of {now} tracked connections: once the table is full, packets of new ones are dropped"
        ),
        effect: format!(
            "room for {proposed}; or shorter nf_conntrack_tcp_timeout_*, or no tracking of what needs none"
        ),
        risk: "kernel memory of some 300 bytes for each connection; nf_conntrack_buckets should grow with it"
            .to_owned(),
        command: place.command(MAX, &proposed.to_string()),
    }]
}
