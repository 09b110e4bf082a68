//! Deaths without an event of their own. In a storm the kernel side writes records of samples, each of which stands
//! for other events of its source, and the daemon reports only the number of the last ones
//! (`agent-ebpf/src/storm.rs`). All of them share the fate of the sample.

use std::collections::HashMap;

use agent_common::count::CountKey;
use agent_common::signal::Probe;
use agent_model::cause::Cause;
use agent_model::event::{Fact, KernelEvent};

/// Sources of which the last fate is known: as many as the kernel side's map of counters holds.
const SOURCES: usize = 4096;

/// An event that may end a connection, and those that it stands for.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    source: Option<CountKey>,
    /// How many they are, at least 1.
    pub times: u32,
}

/// Why connections died, and whose they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Why.
    pub cause: Cause,
    /// cgroup v2 id; 0 if not known.
    pub cgroup: u64,
    /// Inode of the network namespace.
    pub netns: u32,
}

/// The last fate of each source whose events share a record, whatever the port, by the key of its counters; `None` if
/// the event ended no connection, or only one that is counted elsewhere.
#[derive(Debug, Default)]
pub struct Fates(HashMap<CountKey, Option<Fate>>);

impl Group {
    /// Of an event.
    pub fn of(event: &KernelEvent) -> Self {
        Self { source: counted_as(event), times: event.stands_for }
    }
}

/// The key that `count_socket` and `count_segment` use; `None` of a signal that ends no connection.
pub fn counted_as(event: &KernelEvent) -> Option<CountKey> {
    let endpoint = &event.endpoint;
    let detail = event.signal().counted_as(event)?;
    // A segment without a full socket is counted under its namespace alone.
    let cgroup = endpoint.cgroup.filter(|_| !endpoint.request).unwrap_or(0);
    Some(CountKey { cgroup, netns: endpoint.netns, signal: event.detail.number(), detail })
}

impl Fates {
    /// Notes the fate of a group.
    pub fn note(&mut self, group: Group, fate: Option<Fate>) {
        let Some(source) = group.source else { return };
        if self.0.len() < SOURCES || self.0.contains_key(&source) {
            self.0.insert(source, fate);
        }
    }

    /// The fate of the events that `fact` counts, and their number.
    pub fn fate(&self, fact: &Fact) -> Option<(Fate, u64)> {
        let Fact::Coalesced { signal, detail, cgroup, netns, port: _, count } = fact else { return None };
        let signal = Probe::named(signal)?.signal?;
        let source = CountKey { cgroup: *cgroup, netns: *netns, signal, detail: *detail };
        let fate = self.0.get(&source).copied().flatten()?;
        Some((fate, *count))
    }

    /// Forgets those of places for which `lives` returns false.
    pub fn retain(&mut self, lives: impl Fn(u64, u32) -> bool) {
        self.0.retain(|source, _| lives(source.cgroup, source.netns));
    }
}
