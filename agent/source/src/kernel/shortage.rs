//! Tells the host's memory ahead of records that are judged by it.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_common::record::{BufLimitExceeded, NO_REASON, PacketDropped, Record, ResetSent};
use agent_common::signal;
use agent_model::drops::{self, Class};
use agent_model::event::{Fact, HostFacts};
use agent_model::frame::Frame;

use super::ring::{read, signal_of};
use crate::host::HostMemory;

/// The host's memory is read for events at most this often.
const INTERVAL: Duration = Duration::from_secs(1);

/// cgroups reported at a time: those of the first refusals.
const CGROUPS: usize = 16;

/// Reports the host's memory, and remembers when it did.
#[derive(Debug)]
pub struct Shortage {
    memory: Arc<HostMemory>,
    /// Number of the reset reason `TCP_ABORT_ON_MEMORY`; [`NO_REASON`] on a kernel that gives none.
    abort_on_memory: i32,
    /// Numbers of the reasons of drops for want of memory or room.
    drops: BTreeSet<u32>,
    reported: Option<Instant>,
    wanted: bool,
    /// Kernel ids of the memory cgroups whose sockets were refused memory.
    cgroups: BTreeSet<u64>,
    reported_cgroups: BTreeMap<u64, Instant>,
}

impl Shortage {
    pub fn new(memory: Arc<HostMemory>, host: &HostFacts) -> Self {
        let named = host.reset_reasons.iter().find(|(_, name)| &***name == "TCP_ABORT_ON_MEMORY");
        let abort_on_memory = named.map_or(NO_REASON, |(number, _)| *number);
        let drops = host.drop_reasons.iter().filter(|(_, name)| drops::class(name) == Class::Shortage);
        Self {
            memory,
            abort_on_memory,
            drops: drops.filter_map(|(number, _)| u32::try_from(*number).ok()).collect(),
            reported: None,
            wanted: false,
            cgroups: BTreeSet::new(),
            reported_cgroups: BTreeMap::new(),
        }
    }

    /// Takes note of a record.
    pub fn see(&mut self, record: &[u8]) {
        self.wanted = self.wanted || self.is_judged_by_memory(record);
        if self.cgroups.len() < CGROUPS {
            self.cgroups.extend(memory_cgroup(record));
        }
    }

    /// Memory was refused, or a reset may have been sent for want of it. Where the kernel gives no reasons,
    /// each reset on this side's initiative may.
    fn is_judged_by_memory(&self, record: &[u8]) -> bool {
        const DETAIL: usize = offset_of!(Record, detail);
        match signal_of(record) {
            Some(signal::BUF_LIMIT_EXCEEDED) => true,
            Some(signal::PACKET_DROPPED) => {
                let reason = read::<4>(record, DETAIL + offset_of!(PacketDropped, reason));
                reason.is_some_and(|reason| self.drops.contains(&u32::from_ne_bytes(reason)))
            }
            Some(signal::RESET_SENT) => {
                let reason = read::<4>(record, DETAIL + offset_of!(ResetSent, reason));
                let active = read::<1>(record, DETAIL + offset_of!(ResetSent, active));
                reason.map(i32::from_ne_bytes) == Some(self.abort_on_memory) && active == Some([1])
            }
            _ => false,
        }
    }

    /// What the records seen since need before them; nothing of what was reported a moment ago.
    pub fn news(&mut self) -> Vec<Frame> {
        let wanted = std::mem::take(&mut self.wanted);
        let due = self.reported.is_none_or(|last| last.elapsed() >= INTERVAL);
        let host = if wanted && due { self.tcp_memory() } else { None };
        host.into_iter().chain(self.cgroup_news()).collect()
    }

    fn cgroup_news(&mut self) -> Vec<Frame> {
        let short = std::mem::take(&mut self.cgroups);
        self.reported_cgroups.retain(|_, reported| reported.elapsed() < INTERVAL);
        let new = short.into_iter().filter(|id| !self.reported_cgroups.contains_key(id)).collect::<Vec<_>>();
        self.reported_cgroups.extend(new.iter().map(|id| (*id, Instant::now())));
        self.cgroup_memory(&new)
    }

    /// Memory of cgroups now.
    pub fn cgroup_memory(&self, ids: &[u64]) -> Vec<Frame> {
        let facts = self.memory.cgroups(ids).into_iter().map(Fact::CgroupMemory);
        facts.map(Frame::fact).collect()
    }

    /// TCP's memory now; `None` if it cannot be read.
    pub fn tcp_memory(&mut self) -> Option<Frame> {
        self.reported = Some(Instant::now());
        let memory = self.memory.tcp().inspect_err(|error| log::debug!("read TCP's memory: {error}")).ok()?;
        Some(Frame::fact(Fact::TcpMemory(memory)))
    }
}

/// The memory cgroup of a refusal.
fn memory_cgroup(record: &[u8]) -> Option<u64> {
    if signal_of(record)? != signal::BUF_LIMIT_EXCEEDED {
        return None;
    }
    let at = offset_of!(Record, detail) + offset_of!(BufLimitExceeded, memory_cgroup);
    read(record, at).map(u64::from_ne_bytes).filter(|id| *id != 0)
}
