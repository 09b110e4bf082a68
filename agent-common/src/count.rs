//! Exact counters: per-CPU kernel maps that Prometheus's scrape reads. They never pass the ring, so
//! they stay exact when it overflows.

#[cfg(feature = "user")]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::COMM_LEN;
use crate::record::{Task, Totals};

/// Key of the per-CPU hash `COUNTS`: bounded by signals times details times workloads.
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
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

/// [`CountKey::detail`] of a reset for which the kernel gives no reason (before 6.10).
pub const REASON_ABSENT: u16 = 0xff;

/// [`CountKey::cgroup`] of the bucket that takes what does not fit the map.
pub const OTHER_CGROUP: u64 = u64::MAX;

/// Value of `COUNTS`, one per CPU: the counts of a workload, and the limit on its records.
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Exact.
    pub count: Count,
    /// Limits the workload's records, and coalesces the events of ports without a [`Port`].
    pub bucket: Bucket,
}

/// Slots of the per-CPU array `PORTS`, a power of two.
pub const PORTS: u32 = 1024;

/// Value of `PORTS`: limits the records of one port of a workload. Found by a hash of key and port; if the
/// slot is another's, the workload's [`Row`] alone decides.
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// Whose it is.
    pub key: CountKey,
    /// Local port; of a connect() in progress, the peer's.
    pub port: u16,
    /// Zero.
    pub reserved: [u8; 6],
    /// Its limit.
    pub bucket: Bucket,
}

/// A token bucket (GCRA), and the events that it left without a record. An event gets a record if `until` is at
/// most [`Limit::tolerance`] ahead; the record moves `until` on by [`Limit::interval`].
///
/// The next record stands for the events that wait, if it comes before `until` + [`IDLE`]. Otherwise the kernel
/// side moves them to `left`, and the daemon reports them. So nobody needs a lock. The daemon reads the members
/// in this order, and the kernel side clears `waiting` before it raises `left`: no event is reported twice.
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When all tokens are back, ns of `CLOCK_MONOTONIC`; no event waited after that.
    pub until: u64,
    /// Events since the slot was taken for which no record came in time.
    pub left: u64,
    /// Events since the last record that have none.
    pub waiting: u64,
}

/// The daemon reports events that wait longer than this after [`Bucket::until`], ns.
pub const IDLE: u64 = 500_000_000;

/// A slot of `PORTS` is given to another port this long after [`Bucket::until`], ns: the daemon has then read
/// several times what was left.
pub const KEPT: u64 = 10_000_000_000;

/// How many records may come of one source, on one CPU.
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Ns that a record costs; 0 is no limit.
    pub interval: u64,
    /// Ns that may be overdrawn: the burst.
    pub tolerance: u64,
}

/// The limits of all sources, set by the daemon before load.
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of a (signal, detail, workload, port).
    pub port: Limit,
    /// Of a (signal, detail, workload), whatever the port: twice as much a second, no more at once.
    pub workload: Limit,
}

impl Limits {
    /// No limits.
    pub const NONE: Self = Self::new(0, 0);

    /// At most `rate` records a second of a port, and `burst` at once; a `rate` of 0 is no limit.
    pub const fn new(rate: u32, burst: u32) -> Self {
        Self {
            port: Limit::new(rate as u64, burst as u64),
            workload: Limit::new(2 * rate as u64, burst as u64),
        }
    }
}

impl Limit {
    const fn new(rate: u64, burst: u64) -> Self {
        match 1_000_000_000_u64.checked_div(rate) {
            Some(interval) => Self { interval, tolerance: burst.saturating_sub(1) * interval },
            None => Self { interval: 0, tolerance: 0 },
        }
    }
}

/// What is counted of one workload on one CPU.
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
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
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
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
    /// Events without a record of their own: a later record stands for them, or the daemon reports them.
    pub coalesced: u64,
}

/// Value of the hash `SOCKETS`, keyed by the address of the `struct sock`; removed at `tcp_destroy_sock`.
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Socket {
    /// Its process.
    pub owner: Task,
    /// Its totals.
    pub totals: Totals,
}

/// Slots of the array `WATCHED`, by the process id's remainder: 16 KiB of the caches, in which the parents of `FORKS`,
/// a few dozen on most hosts, seldom meet another process.
pub const SLOTS: u32 = 2048;

/// Value of the per-CPU hash `FORKS`, keyed by the process id of a parent that listens, or of whose children a walk
/// found sockets; removed when the parent ends.
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forks {
    /// Processes it forked since it was entered; threads do not count.
    pub forked: u64,
    /// Children that ended since, adopted ones and those forked before included.
    pub exited: u64,
}

impl Task {
    /// Nobody.
    pub const NONE: Self = Self { pid: 0, how: crate::owner::NONE, comm: [0; COMM_LEN] };
}

const _: () = {
    assert!(size_of::<CountKey>() == 16);
    assert!(size_of::<Count>() == 24);
    assert!(size_of::<Bucket>() == 24);
    assert!(size_of::<Row>() == 48);
    assert!(size_of::<Port>() == 48);
    assert!(size_of::<Limits>() == 32);
    assert!(size_of::<Health>() == 48);
    assert!(size_of::<Socket>() == 80);
    assert!(size_of::<Forks>() == 16);
};
