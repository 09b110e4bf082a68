//! How much is remembered. Nothing here grows without one of these bounds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The most that [`Limits::connections`] and [`Limits::history`] may be.
pub const MOST: u32 = 16_777_216;

/// Bounds that the user may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Living troubled connections.
    pub connections: usize,
    /// Dead connections (`--history`).
    pub history: usize,
    /// Age at which a dead connection is forgotten, and a living one that had no event since
    /// (`--history-age`).
    pub history_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 50_000, history: 10_000, history_age: Duration::from_hours(1) }
    }
}

impl Limits {
    /// The same, none of them above what a user may set: a recording may say anything.
    #[must_use]
    pub fn bounded(self) -> Self {
        let Self { connections, history, history_age } = self;
        let most = MOST as usize;
        Self { connections: connections.min(most), history: history.min(most), history_age }
    }
}

/// Listening sockets. A busy host has hundreds; each costs a quarter of a KiB.
pub const LISTENERS: usize = 4096;

/// Processes named of one socket: a listener of a forking server is held by every child.
pub const HOLDERS: usize = 16;

/// Memory cgroups that a walk reports: those of a host whose sockets have the most memory.
pub const CGROUPS: usize = 64;

/// Families of processes: the largest of a host.
pub const FAMILIES: usize = 64;

/// Places named where a family listens.
pub const FAMILY_LISTENERS: usize = 8;

/// Memory cgroups that a family's sockets are charged to: one, as a rule.
pub const FAMILY_CGROUPS: usize = 4;

/// Processes whose forks and limits are remembered during a walk; a walk reports as many.
pub const PROCESSES: usize = 1024;

/// Sockets that a walk counts one by one: 12 MiB while it lasts.
pub const CENSUS_SOCKETS: usize = 131_072;

/// Open files that are sockets in a walk: 4 MiB while it lasts.
pub const CENSUS_FILES: usize = 524_288;

/// Owners of which one copy serves many connections.
pub const OWNERS: usize = 4096;

/// Kernel stacks of resets and of drops; the kernel side's tables have 1024 and 2048.
pub const STACKS: usize = 1024 + 2048;

/// Drops of packets whose connection had no trouble yet, that wait for it; a quarter of an MB.
pub const WAITING_DROPS: usize = 1024;

/// How long they wait, ns: a lost SYN is sent again after 1 s, then after 3 s.
pub const DROP_AGE: u64 = 10_000_000_000;

/// cgroups whose memory is remembered: those short of it, for as long as their events are judged.
pub const SHORT_CGROUPS: usize = 256;

/// Half-open connections whose SYN-ACK was sent again: a full SYN queue of the usual backlog; 2 MiB.
pub const REQUESTS: usize = 1024;

/// Connections that can request a walk over open files at a time: one is reason enough.
pub const WANTS: usize = 1024;

/// First entries of a timeline, which are never dropped: how the trouble began.
pub const FIRST_ENTRIES: usize = 3;

/// Last entries of a timeline. With the first ones enough for `tcp_retries2` = 15, state changes and all.
pub const LAST_ENTRIES: usize = 27;

/// Last entries of a timeline once all timelines have more than [`ENTRIES`] in total.
pub const LAST_ENTRIES_SHORT: usize = 3;

/// Entries of all timelines in total, 2 MiB; above that, a timeline that grows is kept short. So thousands of
/// connections have long timelines, and 50,000 have short ones (another 5 MiB) that fit 64 MiB.
pub const ENTRIES: usize = 100_000;

/// cgroups known by name, the removed ones of a while included. A host has some hundreds.
pub const NAMED_CGROUPS: usize = 16_384;

/// Pods known by name, deleted ones included. A node runs at most a few hundred.
pub const PODS: usize = 4096;

/// Network namespaces whose pod is known.
pub const TENANTS: usize = 8192;

/// How long a death waits whose reason a later event may give, ns.
pub const RESET_GRACE: u64 = 50_000_000;

/// Deaths that wait at a time; the oldest is judged early when there are more.
pub const MAX_PENDING: usize = 16_384;

/// What was forgotten for want of space, by table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Living connections: those longest without an event go first.
    pub connections: u64,
    /// Dead connections, before their age.
    pub history: u64,
    /// Listeners.
    pub listeners: u64,
    /// Half-open connections.
    pub requests: u64,
    /// Kernel stacks.
    pub stacks: u64,
    /// Requests for a walk over open files.
    pub wants: u64,
    /// Open files and forks that no family counts.
    pub families: u64,
    /// Names of cgroups and pods.
    pub places: u64,
}
