//! Exact counters: per-CPU kernel maps that Prometheus's scrape reads. They never pass the ring, so
//! they stay exact when it overflows.

use crate::COMM_LEN;
use crate::record::{Task, Totals};

/// Key of the per-CPU hash `COUNTS`: bounded by signals times details times workloads.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CountKey {
    /// cgroup v2 id of the socket; 0 without one; [`OTHER_CGROUP`] once the map is full.
    pub cgroup: u64,
    /// Inode of the network namespace; 0 for [`OTHER_CGROUP`].
    pub netns: u32,
    /// One of [`crate::signal`].
    pub signal: u16,
    /// The signal's own: retransmit kind, reset reason, state, direction; see [`FAILED`].
    pub detail: u16,
}

/// Bit of [`CountKey::detail`] of a retransmission that failed locally.
pub const FAILED: u16 = 0x100;

/// [`CountKey::detail`] of a reset whose reason the kernel does not tell (before 6.10).
pub const REASON_ABSENT: u16 = 0xff;

/// [`CountKey::cgroup`] of the bucket that takes what does not fit the map.
pub const OTHER_CGROUP: u64 = u64::MAX;

/// Value of `COUNTS`, one per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Events.
    pub events: u64,
    /// TCP segments, for retransmissions; comparable with SNMP RetransSegs.
    pub segments: u64,
    /// Payload bytes, for retransmissions.
    pub bytes: u64,
}

/// Per-CPU array `HEALTH`, one row a signal: what was written and what could not be.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Records written to the ring.
    pub written: u64,
    /// Records lost because the ring was full.
    pub lost_ring: u64,
    /// Events whose record could not be filled (a read or a helper failed).
    pub lost_read: u64,
    /// Sockets not remembered because `SOCKETS` was full; their owner and totals are unknown.
    pub lost_socket: u64,
    /// Workloads counted under [`OTHER_CGROUP`] because `COUNTS` was full.
    pub lost_count: u64,
}

/// Value of the hash `SOCKETS`, keyed by the address of the `struct sock`; removed at `tcp_destroy_sock`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Socket {
    /// Its process.
    pub owner: Task,
    /// Its totals.
    pub totals: Totals,
}

/// Value of the hash `FORKS`, keyed by the parent's process id; removed when the parent ends.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forks {
    /// Processes it forked since the programs were attached; threads do not count.
    pub forked: u64,
    /// Children that ended while it lived, adopted ones and those forked before included.
    pub exited: u64,
    /// When it forked last, ns of `CLOCK_MONOTONIC`.
    pub last: u64,
}

/// Key of `FORKS` that takes the forks of parents that do not fit the map: the idle task, which never forks.
pub const OTHER_PARENTS: u32 = 0;

impl Task {
    /// Nobody.
    pub const NONE: Self = Self { pid: 0, how: crate::owner::NONE, comm: [0; COMM_LEN] };
}

const _: () = {
    assert!(size_of::<CountKey>() == 16);
    assert!(size_of::<Count>() == 24);
    assert!(size_of::<Health>() == 40);
    assert!(size_of::<Socket>() == 72);
    assert!(size_of::<Forks>() == 24);
};
