//! Facts about the host: what live code learns from the kernel and /proc, and a replay from its recording.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::{CgroupMemory, Pod, TcpMemory};
use crate::limits::Limits;

/// A fact about the host, in the stream when it is learnt or changes. Not internally tagged: serde then cannot
/// read back the integer keys of [`HostFacts::reset_reasons`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// First of all: what does not change while the agent runs.
    Host(HostFacts),
    /// Wall clock minus monotonic clock, ns; sent again when it is set.
    Clock {
        /// `CLOCK_REALTIME - CLOCK_MONOTONIC`.
        offset: i64,
    },
    /// Functions of a kernel stack, innermost first.
    Stack {
        /// As in [`ResetSent`](crate::signals::ResetSent).
        id: i32,
        /// Names without offsets; hexadecimal addresses where symbols can't be read.
        frames: Vec<Box<str>>,
    },
    /// A walk over all open files ended: whoever it did not name holds nothing.
    WalkDone {
        /// When it ended, ns of `CLOCK_MONOTONIC`.
        time: u64,
    },
    /// Processes that a walk found, before it is done: who listens, and parents of who holds sockets.
    Processes {
        /// When it was read, ns of `CLOCK_MONOTONIC`.
        time: u64,
        /// Many come in several facts.
        rows: Vec<ProcessRow>,
        /// How many of them the kernel side has no room to count the forks of.
        uncounted: u64,
    },
    /// How much the live run remembers: a replay remembers as much.
    Limits(Limits),
    /// Nothing from before this instant is still on its way: what waits for more events is judged.
    Settle {
        /// ns of `CLOCK_MONOTONIC`; `u64::MAX` at the end of a run.
        time: u64,
    },
    /// Settings of the kernel: come at the start, and before a walk is done if they changed.
    Settings(Settings),
    /// Tasks and open files of the host, before a walk is done.
    Usage(Usage),
    /// The kernel's exact counters: values since the programs were loaded, of those that changed since they
    /// came before.
    Counts {
        /// When they were read, ns of `CLOCK_MONOTONIC`.
        time: u64,
        /// Rows of the map `COUNTS`; many of them come in several facts.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        rows: Vec<CountRow>,
        /// Rows of the map `HEALTH`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        health: Vec<HealthRow>,
    },
    /// A directory of the cgroup v2 tree.
    Cgroup {
        /// Its inode, which is the kernel's id of it and never given again.
        id: u64,
        /// Its path below the root of the tree, as `/proc/PID/cgroup` shows it.
        path: Box<str>,
    },
    /// The directory was removed. Reported a while after, so that the last counts of it are scraped.
    CgroupGone {
        /// As in [`Self::Cgroup`].
        id: u64,
        /// When it was reported, ns of `CLOCK_MONOTONIC`.
        time: u64,
    },
    /// A pod of this node, new or changed.
    Pod(Pod),
    /// The pod was deleted.
    PodGone {
        /// As in [`Pod::uid`].
        uid: Box<str>,
        /// When it was reported, ns of `CLOCK_MONOTONIC`.
        time: u64,
    },
    /// Events of one source that the kernel side kept from being reported one by one, and for which no record
    /// stands either: the last ones of a storm.
    Coalesced {
        /// Signal word.
        signal: Box<str>,
        /// The signal's own: [`agent_common::count::CountKey::detail`].
        detail: u16,
        /// cgroup v2 id; 0 without one.
        cgroup: u64,
        /// Inode of the network namespace.
        netns: u32,
        /// Local port, or the peer's of a connect(); 0 if they were of several.
        port: u16,
        /// How many.
        count: u64,
    },
    /// Records were lost in the ring since the last such fact. The events are not: the next record of their
    /// source stands for them too.
    Lost {
        /// Signal word.
        signal: Box<str>,
        /// How many.
        count: u64,
    },
    /// TCP's memory: comes at the start, ahead of events that need it, and at a scrape.
    TcpMemory(TcpMemory),
    /// A cgroup's socket memory: comes ahead of events of its sockets that need it.
    CgroupMemory(CgroupMemory),
}

/// Settings of the kernel, by names as `sysctl` has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// Inode of the network namespace in which they were read: where the agent runs.
    pub netns: u32,
    /// Each with one value or, like `tcp_mem`, more.
    pub values: BTreeMap<Box<str>, Vec<u64>>,
    /// Indices of that namespace's network devices, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub devices: BTreeMap<Box<str>, u32>,
}

impl Settings {
    /// The name of a device of that namespace.
    pub fn device(&self, index: u32) -> Option<&str> {
        self.devices.iter().find(|(_, known)| **known == index).map(|(name, _)| &**name)
    }

    /// A setting that has one value.
    pub fn value(&self, name: &str) -> Option<u64> {
        self.values.get(name)?.first().copied()
    }
}

/// What the whole host uses of the limits on tasks and files; 0 where it can't be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// When it was read, ns of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// How long the walk took until then, ns.
    pub walk: u64,
    /// Tasks, threads included (`/proc/loadavg`).
    pub tasks: u64,
    /// `kernel.pid_max`.
    pub pid_max: u64,
    /// `kernel.threads-max`.
    pub threads_max: u64,
    /// Open files (`fs.file-nr`).
    pub files: u64,
    /// `fs.file-max`.
    pub file_max: u64,
}

/// What is known of a process beside its sockets.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRow {
    /// Process id.
    pub pid: u32,
    /// `None` where the kernel does not show it.
    pub forks: Option<ForkCount>,
    /// `RLIMIT_NOFILE`, soft; `None` for no limit, and if it could not be read.
    pub nofile: Option<u64>,
    /// `RLIMIT_NPROC`, likewise: processes of its user; `None` also where it does not bind (root).
    pub nproc: Option<u64>,
    /// Tasks of its cgroup; `None` without a limit, and where it could not be read.
    pub pids: Option<Room>,
}

/// What is used of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// By whomever.
    pub used: u64,
    /// Of how much.
    pub limit: u64,
}

/// A row of the map `FORKS`, all CPUs together: [`agent_common::count::Forks`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkCount {
    /// Processes forked since it was first seen, at its `listen()` or by a walk.
    pub forked: u64,
    /// Children that ended since.
    pub exited: u64,
}

/// A row of the map `COUNTS`, all CPUs together: [`agent_common::count::CountKey`] and `Count`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountRow {
    /// See `CountKey::cgroup`.
    pub cgroup: u64,
    /// Inode of the network namespace.
    pub netns: u32,
    /// Number of the signal.
    pub signal: u16,
    /// The signal's own.
    pub detail: u16,
    /// Events.
    pub events: u64,
    /// TCP segments, for retransmissions.
    pub segments: u64,
    /// Payload bytes, for retransmissions.
    pub bytes: u64,
}

/// A row of the map `HEALTH`, all CPUs together: [`agent_common::count::Health`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthRow {
    /// Number of the signal.
    pub signal: u16,
    /// Records written to the ring.
    pub written: u64,
    /// Records lost because the ring was full.
    pub lost_ring: u64,
    /// Events whose record could not be filled.
    pub lost_read: u64,
    /// Sockets not remembered.
    pub lost_socket: u64,
    /// Workloads counted under the bucket for the rest.
    pub lost_count: u64,
    /// Events without a record of their own.
    #[serde(default)]
    pub coalesced: u64,
}

/// What does not change while the agent runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Timer interrupts a second: the unit of jiffies.
    pub hz: u32,
    /// `uname -r`.
    pub release: Box<str>,
    /// Names of `enum sk_rst_reason` without the prefix `SK_RST_REASON_`; empty before 6.10.
    pub reset_reasons: BTreeMap<i32, Box<str>>,
    /// Bytes of a page.
    pub page_size: u32,
    /// Names of the reasons of `enum skb_drop_reason` that are reported, without the prefix `SKB_DROP_REASON_`;
    /// empty before 5.17.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub drop_reasons: BTreeMap<i32, Box<str>>,
}
