//! The exact counters and the programs' own cost, read at scrape.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;
use std::time::Duration;

use agent_common::count::{Bucket, Count, CountKey, Health, OTHER_CGROUP, Port, Row};
use agent_model::counters;
use agent_model::counters::{HealthTable, ProbeHealth, ProgramStats, Reading};
use agent_model::event::{Snmp, TcpMemory};
use aya::maps::{MapData, PerCpuArray, PerCpuHashMap, PerCpuValues};
use aya::programs::ProgramFd;
use parking_lot::Mutex;

use super::losses::Loss;
use super::probes::{PROBES, ProbeState, ProbeStatus};
use crate::host;
use crate::host::HostMemory;

/// Reads the kernel side's maps. Nothing here is copied between scrapes.
pub struct Counters {
    pub(super) counts: Mutex<PerCpuHashMap<MapData, CountKey, Row>>,
    pub(super) health: PerCpuArray<MapData, Health>,
    pub(super) ports: PerCpuArray<MapData, Port>,
    pub(super) programs: Vec<(&'static str, ProgramFd)>,
    /// What became of each probe.
    pub probes: Vec<ProbeStatus>,
    /// What this kernel cannot show.
    pub lost: Vec<Loss>,
    /// Reads TCP's memory.
    pub(super) memory: Arc<HostMemory>,
}

/// A bucket of one CPU, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    pub(super) place: (BucketOf, usize),
    pub(super) key: CountKey,
    /// 0 of a workload's ports that have no bucket of their own.
    pub(super) port: u16,
    pub(super) bucket: Bucket,
}

/// Where a bucket is, on each CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BucketOf {
    /// In `COUNTS`.
    Row(CountKey),
    /// In `PORTS`.
    Port(u32),
}

impl Kept {
    fn new(place: BucketOf, cpu: usize, key: CountKey, port: u16, bucket: Bucket) -> Self {
        Self { place: (place, cpu), key, port, bucket }
    }
}

impl counters::Counters for Counters {
    fn counts(&self) -> Reading<Vec<(CountKey, Count)>> {
        let counts = self.counts.lock();
        let counts = counts.iter().map(|entry| entry.map(|(key, values)| (key, sum_counts(&values))));
        Ok(counts.collect::<Result<_, _>>()?)
    }

    fn health(&self) -> Reading<HealthTable> {
        let mut rows = HealthTable::default();
        for (row, values) in rows.iter_mut().zip(self.health.iter()) {
            *row = sum_health(&values?);
        }
        Ok(rows)
    }

    fn programs(&self) -> Reading<Vec<ProgramStats>> {
        self.programs.iter().map(|(name, fd)| Ok(of_program(name, fd)?)).collect()
    }

    fn probes(&self) -> Vec<ProbeHealth> {
        self.probes.iter().map(probe).collect()
    }

    fn tcp_memory(&self) -> Option<TcpMemory> {
        self.memory.tcp().ok()
    }

    fn snmp(&self) -> Option<Snmp> {
        host::snmp()
    }

    /// What is counted of them between the reading and this is lost with them.
    fn forget(&self, keys: &[CountKey]) {
        let mut counts = self.counts.lock();
        for key in keys {
            // Counts of the pipeline have keys like these, which are not in the map.
            let _ = counts.remove(key);
        }
    }
}

fn probe(status: &ProbeStatus) -> ProbeHealth {
    let ProbeStatus { probe, state } = status;
    ProbeHealth {
        name: probe.name.into(),
        required: probe.required,
        up: *state == ProbeState::Up,
        error: status.error(),
        lost_without: probe.without.into(),
    }
}

impl Counters {
    /// The buckets of all CPUs that have kept events from being reported. Reads two maps: some milliseconds.
    pub fn buckets(&self) -> Result<Vec<Kept>, aya::maps::MapError> {
        let mut kept = Vec::new();
        let counts = self.counts.lock();
        for entry in counts.iter() {
            let (key, rows) = entry?;
            kept.extend(
                (0..)
                    .zip(rows.iter())
                    .map(|(cpu, row)| Kept::new(BucketOf::Row(key), cpu, key, 0, row.bucket)),
            );
        }
        for (slot, ports) in (0..).zip(self.ports.iter()) {
            let ports = ports?;
            kept.extend(
                (0..).zip(ports.iter()).map(|(cpu, port)| {
                    Kept::new(BucketOf::Port(slot), cpu, port.key, port.port, port.bucket)
                }),
            );
        }
        kept.retain(|kept| kept.bucket.left + kept.bucket.waiting > 0);
        Ok(kept)
    }

    /// Makes the entries that take what does not fit, while the map has room.
    pub(super) fn reserve_other(&mut self) -> Result<(), aya::maps::MapError> {
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error).unwrap_or(1);
        for (signal, detail) in all_details() {
            let key = CountKey { cgroup: OTHER_CGROUP, netns: 0, signal, detail };
            let zeroes = PerCpuValues::try_from(vec![Row::default(); cpus])?;
            self.counts.get_mut().insert(key, zeroes, 0)?;
        }
        Ok(())
    }
}

/// Every (signal, detail) that a program counts.
fn all_details() -> impl Iterator<Item = (u16, u16)> {
    PROBES
        .iter()
        .filter_map(|probe| Some((probe.signal?, probe.counted)))
        .flat_map(|(signal, counted)| counted.iter().cloned().flatten().map(move |detail| (signal, detail)))
}

fn sum_counts(rows: &[Row]) -> Count {
    rows.iter().map(|row| row.count).fold(Count::default(), |sum, one| Count {
        events: sum.events + one.events,
        segments: sum.segments + one.segments,
        bytes: sum.bytes + one.bytes,
    })
}

fn sum_health(values: &[Health]) -> Health {
    values.iter().fold(Health::default(), |sum, one| Health {
        written: sum.written + one.written,
        lost_ring: sum.lost_ring + one.lost_ring,
        lost_read: sum.lost_read + one.lost_read,
        lost_socket: sum.lost_socket + one.lost_socket,
        lost_count: sum.lost_count + one.lost_count,
        coalesced: sum.coalesced + one.coalesced,
    })
}

/// From `bpf_prog_show_fdinfo` (kernel/bpf/syscall.c); numbers that the running kernel lacks are 0.
pub(super) fn of_program(name: &'static str, fd: &ProgramFd) -> std::io::Result<ProgramStats> {
    let fdinfo = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()))?;
    Ok(program_stats(name, &fdinfo))
}

fn program_stats(name: &'static str, fdinfo: &str) -> ProgramStats {
    let field = |wanted: &str| {
        let value = fdinfo.lines().find_map(|line| line.strip_prefix(wanted)?.strip_prefix(':'));
        value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    };
    ProgramStats {
        name: name.into(),
        run_time: Duration::from_nanos(field("run_time_ns")),
        runs: field("run_cnt"),
        misses: field("recursion_misses"),
        instructions: field("verified_insns"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fdinfo() {
        let text = "pos:\t0\nprog_id:\t7\nrun_time_ns:\t1200\nrun_cnt:\t4\nrecursion_misses:\t1\nverified_insns:\t900\n";
        let stats = program_stats("retransmit", text);
        assert_eq!((stats.run_time, stats.runs), (Duration::from_nanos(1200), 4));
        assert_eq!((stats.misses, stats.instructions), (1, 900));
    }

    #[test]
    fn all_details_are_distinct() {
        let mut details: Vec<_> = all_details().collect();
        let len = details.len();
        details.sort_unstable();
        details.dedup();
        assert_eq!(details.len(), len);
    }
}
