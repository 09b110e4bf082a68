//! `tcp_mem`: where TCP as a whole ran out of memory, or is about to.

use agent_diagnose::forecast::Bound;
use agent_model::cause::Cause;
use agent_model::units::{escaped, size};

use crate::{Advice, Gathered, amount, plural, sysctl};

const NAME: &str = "net.ipv4.tcp_mem";

/// From here on growth of a family is a matter of hours.
const NEAR_PERCENT: u64 = 75;

pub(super) fn rule(gathered: &Gathered) -> Vec<Advice> {
    let Some(memory) = gathered.memory.as_ref().filter(|memory| memory.tcp_mem().is_some()) else {
        return Vec::new();
    };
    let refused = gathered.deaths(Cause::OutOfTcpMemory) + memory.log.map_or(0, |log| log.out_of_memory);
    let pressures = gathered.counter("TCPMemoryPressures");
    let percent = memory.percent().unwrap_or(0);
    if refused == 0 && pressures == 0 && percent < NEAR_PERCENT {
        return Vec::new();
    }
    let page = u64::from(gathered.page_size);
    let now = memory.limits;
    let proposed = now.map(|pages| pages + pages / 2);
    let text = |pages: [u64; 3]| pages.map(|pages| pages.to_string()).join(" ");
    vec![Advice {
        setting: NAME.to_owned(),
        netns: None,
        now: Some(text(now)),
        proposed: text(proposed),
        observation: format!(
            "TCP has {} of {} ({percent} %); it was under pressure {}, and {} for want of memory{}",
            size(memory.pages * page),
            size(now[2] * page),
            plural(pressures, "time"),
            amount(refused, "socket was closed", "sockets were closed"),
            holder(gathered),
        ),
        effect: format!(
            "memory is refused above {} only{}",
            size(proposed[2] * page),
            room(gathered, proposed[2] * page)
        ),
        risk: format!(
            "up to {} more of the host's memory is TCP's, taken from all else",
            size((proposed[2] - now[2]) * page)
        ),
        command: sysctl(NAME, &text(proposed)),
    }]
}

/// Who has most of it.
fn holder(gathered: &Gathered) -> String {
    let first = gathered.families.first().filter(|family| family.memory_bytes > 0);
    first.map_or(String::new(), |family| {
        let (name, memory) = (escaped(&family.process.comm), size(family.memory_bytes));
        format!("; most of it has {name} with {memory} in {} connections", family.connections)
    })
}

/// Connections of the largest family that the new limit takes.
fn room(gathered: &Gathered, high: u64) -> String {
    let Some(family) = gathered.families.first() else { return String::new() };
    let limit = family.forecast.iter().find(|forecast| forecast.bound == Bound::TcpMem);
    limit.map_or(String::new(), |limit| {
        let more = high.saturating_sub(limit.used) as f64 / limit.each.max(1.0);
        let then = f64::from(family.connections) + more;
        let (name, each) = (escaped(&family.process.comm), size(limit.each as u64));
        format!(": {then:.0} connections of {name} at {each} instead of {}", limit.connections)
    })
}
