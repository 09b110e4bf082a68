//! The backlog of `listen()` and its limit `somaxconn`: where connections did not fit the accept queue.

use agent_diagnose::backlog;
use agent_diagnose::families::{FamilyRow, Listens};
use agent_model::cause::Cause;
use agent_model::units::escaped;

use crate::{Advice, NetnsView, plural};

const NAME: &str = "net.core.somaxconn";

/// The default since 5.4.
const USUAL: u64 = 4096;

pub(super) fn rule(place: &NetnsView) -> Vec<Advice> {
    let counted = place.counter("ListenOverflows");
    let overflows = counted.max(place.deaths(Cause::AcceptQueueFull));
    if overflows == 0 {
        return Vec::new();
    }
    let listeners = || {
        let families = place.gathered.families.iter();
        let all = families.flat_map(|family| family.listens.iter().map(move |listens| (family, listens)));
        all.filter(|(_, listens)| listens.netns == place.netns)
    };
    // The one that is fullest now; if none is, the one that holds least.
    let Some((family, listens)) = listeners().max_by_key(|(_, one)| {
        (u64::from(one.accept_queue) * 100 / u64::from(one.backlog.max(1)), u32::MAX - one.backlog)
    }) else {
        return Vec::new();
    };
    vec![advice(place, overflows, family, listens)]
}

fn advice(place: &NetnsView, overflows: u64, family: &FamilyRow, listens: &Listens) -> Advice {
    let somaxconn = place.value(NAME).unwrap_or(USUAL);
    let backlog = u64::from(listens.backlog);
    let proposed = backlog::larger(backlog);
    let name = escaped(&family.process.comm);
    let program = format!("in {name}: listen(fd, {proposed})");
    let command = if proposed > somaxconn {
        format!("{} && restart {name} ({program})", place.command(NAME, &proposed.to_string()))
    } else {
        program
    };
    let full = if u64::from(listens.accept_queue) > backlog {
        ", full now: it accepts too slowly, which no queue cures"
    } else {
        ""
    };
    Advice {
        setting: if proposed > somaxconn { NAME.to_owned() } else { format!("backlog of {name}") },
        netns: Some(place.netns),
        now: Some(format!("{backlog} (somaxconn {somaxconn})")),
        proposed: proposed.to_string(),
        observation: format!(
            "{} of an accept queue; that of {name} on {} has {} of {backlog}{full}",
            plural(overflows, "overflow"),
            listens.local,
            listens.accept_queue,
        ),
        effect: format!(
            "a burst {} times as large waits instead of being dropped",
            proposed / backlog.max(1)
        ),
        risk: format!(
            "who waits longest may have given up by the time it is accepted; {}",
            cost(place, proposed)
        ),
        command,
    }
}

fn cost(place: &NetnsView, waiting: u64) -> String {
    let rcvbuf =
        place.settings.and_then(|settings| settings.values.get("net.ipv4.tcp_rmem")?.get(1).copied());
    let memory = place.gathered.memory.as_ref();
    let high = memory.map_or(0, |memory| memory.limits[2] * u64::from(place.gathered.page_size));
    backlog::cost(waiting, rcvbuf.unwrap_or(0), high)
}
