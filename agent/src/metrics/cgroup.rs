//! Socket memory of cgroups, by workload. Several cgroups of one workload are one: the sum of their memory, and the
//! limit with least room.

use std::collections::BTreeMap;
use std::fmt;

use agent_correlate::place::{Places, Whose};
use agent_model::event::CgroupMemory;
use prometheus_client::encoding::DescriptorEncoder;

use super::family::{self, MetricFamily};
use super::page::{Labels, counters, descriptor};
use super::workload::Workload;

/// All cgroups of one workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupTally {
    /// Bytes of sockets.
    pub sockets: u64,
    /// Bytes that count against the limit with least room, and that limit; `None` without one.
    pub limit: Option<(u64, u64)>,
    /// Times that a limit was hit, the most of any.
    pub hits: u64,
    /// Times that the kernel throttled sockets, the most of any.
    pub throttled: Option<u64>,
    /// µs that tasks waited for memory, the most of any.
    pub stalled_us: Option<u64>,
}

/// Sums up by workload. There are at most as many series as a walk reports cgroups.
pub(crate) fn tally<'a>(
    cgroups: impl Iterator<Item = &'a CgroupMemory>,
    places: &Places,
) -> BTreeMap<Workload, CgroupTally> {
    let mut all = BTreeMap::<Workload, CgroupTally>::new();
    for memory in cgroups {
        let whose = Whose::Of(places.place_of_path(&memory.own));
        let Some(workload) = Workload::of(memory.cgroup, &whose) else { continue };
        all.entry(workload).or_default().add(memory);
    }
    all
}

impl CgroupTally {
    /// Limits and what they count may be the same of several cgroups: they are not added up.
    fn add(&mut self, memory: &CgroupMemory) {
        let CgroupMemory { socket, used, limit, hits, throttled, stalled_us, .. } = memory;
        let room = |(used, limit): &(u64, u64)| limit.saturating_sub(*used);
        self.sockets += socket;
        self.limit = self.limit.into_iter().chain(limit.map(|limit| (*used, limit))).min_by_key(room);
        self.hits = self.hits.max(*hits);
        self.throttled = self.throttled.max(*throttled);
        self.stalled_us = self.stalled_us.max(*stalled_us);
    }
}

pub(super) fn encode(tally: &BTreeMap<Workload, CgroupTally>, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let rows = || tally.iter().map(|(workload, sum)| (labels(workload), sum));
    gauges(to, &family::CGROUP_SOCKETS, rows().map(|(labels, sum)| (labels, sum.sockets)))?;
    let limits = || rows().filter_map(|(labels, sum)| Some((labels, sum.limit?)));
    gauges(to, &family::CGROUP_MEMORY, limits().map(|(labels, (used, _))| (labels, used)))?;
    gauges(to, &family::CGROUP_MEMORY_LIMIT, limits().map(|(labels, (_, limit))| (labels, limit)))?;
    counters(to, &family::CGROUP_LIMIT_HITS, rows().map(|(labels, sum)| (labels, sum.hits)))?;
    let throttled = rows().filter_map(|(labels, sum)| Some((labels, sum.throttled?)));
    counters(to, &family::CGROUP_THROTTLED, throttled)?;
    let stalled = rows().filter_map(|(labels, sum)| Some((labels, sum.stalled_us? as f64 / 1e6)));
    counters(to, &family::CGROUP_STALL, stalled)
}

fn labels(workload: &Workload) -> Labels<'_> {
    workload.labels().collect()
}

fn gauges<'a>(
    to: &mut DescriptorEncoder<'_>,
    family: &MetricFamily,
    rows: impl Iterator<Item = (Labels<'a>, u64)>,
) -> fmt::Result {
    let mut metric = descriptor(to, family)?;
    for (labels, value) in rows {
        if labels.is_empty() {
            metric.encode_gauge(&value)?;
        } else {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn memory(own: &str, socket: u64, used: u64, limit: Option<u64>) -> CgroupMemory {
        CgroupMemory { own: own.into(), socket, used, limit, hits: used, ..CgroupMemory::default() }
    }

    #[test]
    fn cgroups_of_one_unit_are_one_with_the_narrowest_limit() {
        let all = [
            memory("/system.slice/web.service", 100, 900, Some(1000)),
            memory("/system.slice/web.service/worker", 50, 10, Some(1_000_000)),
            memory("/system.slice/db.service", 7, 3, None),
            memory("/elsewhere", 1, 1, None),
        ];
        let tally = tally(all.iter(), &Places::new(Duration::ZERO));
        let of = |unit: &str| &tally[&Workload::new([("unit", unit.into())])];
        let web = of("web.service");
        assert_eq!((web.sockets, web.limit, web.hits), (150, Some((900, 1000)), 900));
        assert_eq!((of("db.service").sockets, of("db.service").limit), (7, None));
        assert_eq!(tally[&Workload::HOST].sockets, 1);
    }
}
