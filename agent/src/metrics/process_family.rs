//! Process families, by the name of the process that listens.

use std::collections::BTreeMap;
use std::fmt;

use agent_correlate::families::{ProcessFamily, Walks};
use agent_model::escape::Escaped;
use prometheus_client::encoding::DescriptorEncoder;

use super::page::{Labels, counters, gauges};
use super::{Tally, family};

/// Names with series of their own; a host that runs more servers than this has its largest here.
pub(super) const NAMES: usize = 20;

/// The name of all the others.
const OTHER: &str = "other";

/// All families of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FamilyTally {
    /// `/proc/PID/comm` of the process that listens, escaped: somebody may read the page in a terminal.
    pub comm: Box<str>,
    /// Sockets, listeners included.
    pub sockets: u64,
    /// Connections.
    pub connections: u64,
    /// Forked processes with sockets.
    pub children: u64,
    /// Kernel memory, bytes.
    pub memory: u64,
}

/// Sums up families that come largest first: the first names have rows of their own, the rest share one.
pub(crate) fn tally<'a>(families: impl Iterator<Item = &'a ProcessFamily>) -> Vec<FamilyTally> {
    let mut names = BTreeMap::<Box<str>, FamilyTally>::new();
    for family in families {
        let name: Box<str> = Escaped(&family.root.comm).to_string().into();
        let comm = if names.len() < NAMES || names.contains_key(&name) { name } else { OTHER.into() };
        let sum = names.entry(comm.clone()).or_insert_with(|| FamilyTally { comm, ..FamilyTally::default() });
        sum.sockets += u64::from(family.counts.sockets);
        sum.connections += u64::from(family.connections());
        sum.children += u64::from(family.counts.children);
        sum.memory += family.memory;
    }
    names.into_values().collect()
}

pub(super) fn encode(tally: &Tally, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let rows = |of: fn(&FamilyTally) -> u64| tally.families.iter().map(move |row| (&*row.comm, of(row)));
    gauges(to, &family::PROCESS_FAMILY_SOCKETS, rows(|row| row.sockets))?;
    gauges(to, &family::PROCESS_FAMILY_CONNECTIONS, rows(|row| row.connections))?;
    gauges(to, &family::PROCESS_FAMILY_CHILDREN, rows(|row| row.children))?;
    gauges(to, &family::PROCESS_FAMILY_MEMORY, rows(|row| row.memory))?;
    let Walks { count, time } = tally.walks;
    counters(to, &family::WALKS, [(Labels::new(), count)])?;
    counters(to, &family::WALK_TIME, [(Labels::new(), time.as_secs_f64())])
}

#[cfg(test)]
mod tests {
    use agent_correlate::families::{Counts, Growth};
    use agent_model::event::Process;

    use super::*;

    fn family(comm: &str, memory: u64) -> ProcessFamily {
        ProcessFamily {
            root: Process { pid: 1, comm: comm.into() },
            listens: Vec::new(),
            members: Vec::new(),
            counts: Counts { sockets: 1, ..Counts::default() },
            memory,
            forks: None,
            nofile: None,
            nproc: None,
            pids: None,
            cgroups: Vec::new(),
            growth: Growth::default(),
        }
    }

    #[test]
    fn the_largest_names_have_series_and_the_rest_is_one() {
        let mut families: Vec<_> = (0..30).map(|name| family(&format!("server{name:02}"), 100)).collect();
        families.push(family("server00", 11));
        let all = tally(families.iter());
        let of = |name: &str| all.iter().find(|row| &*row.comm == name).map(|row| (row.memory, row.sockets));
        assert_eq!(all.len(), NAMES + 1);
        assert_eq!((of("server00"), of("server19")), (Some((111, 2)), Some((100, 1))));
        assert_eq!((of("server20"), of(OTHER)), (None, Some((1000, 10))));
    }
}
