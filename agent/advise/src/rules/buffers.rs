//! `tcp_rmem`, `tcp_wmem`: less for each socket where TCP's memory runs out, more to receive where segments are
//! thrown away for want of it and memory is free.

use agent_model::cause::Cause;
use agent_model::units::size;

use crate::{Advice, NetnsView};

/// Below half of `tcp_mem` there is memory to give.
const FREE_PERCENT: u64 = 50;

/// The kernel's own default, and no more than that by advice.
const MOST: u64 = 32 << 20;

pub(super) fn rule(place: &NetnsView) -> Vec<Advice> {
    let Some(memory) = &place.gathered.memory else { return Vec::new() };
    let Some(settings) = place.settings else { return Vec::new() };
    let short = place.gathered.deaths(Cause::OutOfTcpMemory) > 0 || memory.percent().unwrap_or(0) >= 75;
    let thrown: u64 = ["RcvPruned", "TCPRcvQDrop", "OfoPruned"].iter().map(|name| place.counter(name)).sum();
    if short {
        ["net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"]
            .into_iter()
            .filter_map(|name| less(place, settings.values.get(name)?, name))
            .collect()
    } else if thrown > 0 && memory.percent().unwrap_or(0) < FREE_PERCENT {
        let name = "net.ipv4.tcp_rmem";
        settings.values.get(name).and_then(|values| more(place, values, name, thrown)).into_iter().collect()
    } else {
        Vec::new()
    }
}

/// Half of what one socket may take.
fn less(place: &NetnsView, values: &[u64], name: &str) -> Option<Advice> {
    let &[least, first, most] = values else { return None };
    let proposed = (most / 2).max(first);
    (proposed < most).then(|| {
        let memory = place.gathered.memory.as_ref().map_or(0, |memory| memory.percent().unwrap_or(0));
        advice(
            place,
            name,
            values,
            &[least, first, proposed],
            format!("TCP has {memory} % of its memory (tcp_mem)"),
            format!("no socket takes more than {} by itself, of {} before", size(proposed), size(most)),
            "slower single transfers on long fat paths: throughput is at most the buffer by the round trip",
        )
    })
}

fn more(place: &NetnsView, values: &[u64], name: &str, thrown: u64) -> Option<Advice> {
    let &[least, first, most] = values else { return None };
    let proposed = most.saturating_mul(2).min(MOST);
    (proposed > most).then(|| {
        advice(
            place,
            name,
            values,
            &[least, first, proposed],
            format!("{thrown} segments were thrown away for want of a socket's receive memory (RcvPruned, TCPRcvQDrop, OfoPruned)"),
            format!("a socket may take up to {} instead of {}; TCP has memory for it", size(proposed), size(most)),
            "a program that does not read holds up to as much more for each of its connections",
        )
    })
}

fn advice(
    place: &NetnsView,
    name: &str,
    now: &[u64],
    proposed: &[u64],
    observation: String,
    effect: String,
    risk: &str,
) -> Advice {
    let text = |values: &[u64]| values.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    Advice {
        setting: name.to_owned(),
        netns: Some(place.netns),
        now: Some(text(now)),
        proposed: text(proposed),
        observation,
        effect,
        risk: risk.to_owned(),
        command: place.command(name, &text(proposed)),
    }
}
