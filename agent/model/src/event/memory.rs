//! Facts about TCP's memory: what `/proc` and the cgroups showed at one moment.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// TCP's memory on the whole host, its limits, and what the kernel counted where it ran short.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TcpMemory {
    /// When it was read, ns of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// Pages charged to TCP's sockets (`mem` of `/proc/net/sockstat`). From 6.0 on each processor keeps up to
    /// 1 MiB of charges to itself (`net.core.mem_pcpu_rsv`), which are missing here or counted too much.
    pub pages: u64,
    /// `tcp_mem`: low, pressure and high, pages; 0 where it is not known, see [`Self::tcp_mem`].
    pub limits: [u64; 3],
    /// TCP is under pressure now (`press` of `/proc/net/protocols`): it begins above pressure and ends at low.
    pub pressure: bool,
    /// TCP sockets that have memory (`alloc` of sockstat), closed ones that still send included.
    pub sockets: u64,
    /// Closed sockets that the kernel still serves (`orphan` of sockstat).
    pub orphans: u64,
    /// `tcp_max_orphans`; 0 where it is not known, likewise.
    pub max_orphans: u64,
    /// TCP sockets bound to a port (`inuse` of sockstat and sockstat6), of the agent's network namespace.
    pub in_use: u64,
    /// Sockets in `TIME_WAIT` (`tw` of sockstat), of the agent's network namespace.
    pub time_wait: u64,
    /// What sockets may take, in the agent's network namespace.
    pub buffers: Buffers,
    /// Counters of `/proc/net/netstat` ([`COUNTERS`]) by their names there, of the agent's network namespace.
    pub counters: BTreeMap<Box<str>, u64>,
    /// Lines of the kernel log since the agent started; `None` where it may not be read (CAP_SYSLOG).
    pub log: Option<LogLines>,
}

/// The counters of `TcpExt` of memory and queues. One that the kernel lacks is left out.
pub const COUNTERS: &[&str] = &[
    "ListenDrops",
    "ListenOverflows",
    "OfoPruned",
    "PruneCalled",
    "RcvPruned",
    "TCPAbortOnMemory",
    "TCPBacklogDrop",
    "TCPFromZeroWindowAdv",
    "TCPMemoryPressures",
    "TCPMemoryPressuresChrono",
    "TCPOFODrop",
    "TCPRcvCollapsed",
    "TCPRcvQDrop",
    "TCPReqQFullDoCookies",
    "TCPReqQFullDrop",
    "TCPTimeWaitOverflow",
    "TCPToZeroWindowAdv",
    "TCPWantZeroWindowAdv",
    "TCPWinProbe",
    "TCPZeroWindowDrop",
];

/// Settings that bound a socket's buffers and queues. Bytes, but for the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Buffers {
    /// `net.ipv4.tcp_rmem`: guaranteed, at first, most that autotuning gives.
    pub tcp_rmem: [u64; 3],
    /// `net.ipv4.tcp_wmem`, likewise.
    pub tcp_wmem: [u64; 3],
    /// `net.core.rmem_max`: most that SO_RCVBUF may ask for; the kernel doubles it.
    pub rmem_max: u64,
    /// `net.core.wmem_max`: most that SO_SNDBUF may ask for; the kernel doubles it.
    pub wmem_max: u64,
    /// `net.core.somaxconn`: most connections that may wait for accept.
    pub somaxconn: u64,
}

/// Lines of `tcp_check_oom`, ten in 5 s at most (`net_ratelimit`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLines {
    /// "TCP: out of memory -- consider tuning tcp_mem".
    pub out_of_memory: u64,
    /// "TCP: too many orphaned sockets".
    pub too_many_orphans: u64,
}

/// What the kernel itself has counted in one network namespace since that began: what the agent's own counters
/// are compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snmp {
    /// Inode of the namespace.
    pub netns: u32,
    /// `OutRsts`: resets sent.
    pub out_rsts: u64,
    /// `RetransSegs`: segments sent again, or tried to.
    pub retrans_segs: u64,
    /// `TCPRetransFail`: those among them that did not leave the host.
    pub retrans_fail: u64,
}

impl TcpMemory {
    /// `tcp_mem`. The kernel shows it, as `tcp_max_orphans`, in the host's own network namespace only
    /// (`ipv4_table`, registered for `init_net`): not to an agent in a pod without `hostNetwork`.
    pub fn tcp_mem(&self) -> Option<[u64; 3]> {
        Some(self.limits).filter(|[.., high]| *high > 0)
    }

    /// `tcp_max_orphans`, where the kernel shows it.
    pub fn orphans_limit(&self) -> Option<u64> {
        Some(self.max_orphans).filter(|limit| *limit > 0)
    }

    /// One of [`COUNTERS`]; `None` where the kernel lacks it.
    pub fn counter(&self, name: &str) -> Option<u64> {
        self.counters.get(name).copied()
    }

    /// Hundredths of `tcp_mem`'s high that TCP has; `None` without a limit.
    pub fn percent(&self) -> Option<u64> {
        self.pages.saturating_mul(100).checked_div(self.limits[2])
    }
}

/// Socket memory of a cgroup and the limit that is nearest above it.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupMemory {
    /// When it was read, ns of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// Kernel id of the cgroup, in the hierarchy of the memory controller, as refusals have it.
    pub cgroup: u64,
    /// Hierarchy of the limit: 1 or 2.
    pub version: u8,
    /// Its path below the hierarchy's root.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub own: Box<str>,
    /// The same of the cgroup whose limit is nearest to what it uses: itself, or one above it.
    pub path: Box<str>,
    /// Bytes of sockets: `sock` of `memory.stat`, or (v1) `memory.kmem.tcp.usage_in_bytes`.
    pub socket: u64,
    /// Bytes that count against the limit: `memory.current`, or (v1) as `socket`.
    pub used: u64,
    /// `memory.max`, or (v1) `memory.kmem.tcp.limit_in_bytes`; bytes; `None` is no limit.
    pub limit: Option<u64>,
    /// Times that the limit was hit: `max` of `memory.events`, or (v1) `memory.kmem.tcp.failcnt`.
    pub hits: u64,
    /// Times that its sockets were held back: `sock_throttled` of `memory.events`; 7.1+, v2 only.
    pub throttled: Option<u64>,
    /// µs that tasks waited for memory: `some total` of `memory.pressure`; v2 with PSI only.
    pub stalled_us: Option<u64>,
}
