//! Records of the ring buffer and of the file iterator.
//!
//! Every record starts with [`Record`]; one whose [`Header::flags`] has [`HAS_TCP`] is a
//! [`TcpRecord`], that is, the same followed by what a full TCP socket knows. A field that the
//! running kernel lacks holds its type's `ABSENT`; the daemon turns that into `None`.

mod detail;

// One type a signal: a list by hand would be a second table.
pub use detail::*;

#[cfg(feature = "user")]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::COMM_LEN;

/// [`Header::flags`]: a [`Tcp`], a [`Netns`] and [`Totals`] follow.
pub const HAS_TCP: u16 = 1;
/// [`Header::flags`]: `sk_lock.owned` was set, so [`Record::current`] is the task that works on the socket.
pub const OWNED: u16 = 2;
/// [`Header::flags`]: the endpoint is a TIME_WAIT mini socket.
pub const TIME_WAIT: u16 = 4;
/// [`Header::flags`]: the endpoint is a listening socket that stands in for one of its half-open connections.
pub const REQUEST: u16 = 8;

/// A 32-bit field that this kernel does not have.
pub const ABSENT32: u32 = u32::MAX;
/// A 16-bit field that this kernel does not have.
pub const ABSENT16: u16 = u16::MAX;
/// An 8-bit field that this kernel does not have.
pub const ABSENT8: u8 = u8::MAX;
/// A 64-bit field that this kernel does not have.
pub const ABSENT64: u64 = u64::MAX;
/// [`ResetSent::reason`] on a kernel whose tracepoint gives none (before 6.10).
pub const NO_REASON: i32 = -1;
/// [`ResetSent::stack`] when no kernel stack was taken.
pub const NO_STACK: i32 = -1;

/// What every record starts with.
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// `bpf_ktime_get_ns`: nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// One of [`crate::signal`].
    pub signal: u16,
    /// [`HAS_TCP`] and the like.
    pub flags: u16,
    /// How many events of the same signal, kind or reason, workload and port this record stands for: itself,
    /// and those before it that got none of their own. At least 1.
    pub stands_for: u32,
}

/// A process, as the kernel names it.
#[repr(C, align(8))]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// Process id (`task_struct.tgid`) in the initial pid namespace; 0 is none.
    pub pid: u32,
    /// One of [`crate::owner`]: how it was learnt. In [`Record::current`]: the thread's id.
    pub how: u32,
    /// Name of the process (`group_leader->comm`), NUL-terminated; any byte may be in it.
    pub comm: [u8; COMM_LEN],
}

/// Whose event it is: the socket's identity, or the packet's where there is no socket.
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Endpoint {
    /// Address of the `struct sock`; 0 if there is none. Reused within milliseconds after `sock_destroyed`.
    pub sk: u64,
    /// `bpf_get_socket_cookie`: unique for the host's uptime; 0 if the helper is missing (before 5.12).
    pub cookie: u64,
    /// Id of the cgroup v2 directory the socket was created in; 0 if there is no socket.
    pub cgroup: u64,
    /// Inode of the network namespace.
    pub netns: u32,
    /// User id that owns the socket; [`ABSENT32`] without a full socket.
    pub uid: u32,
    /// Local address: 16 bytes of IPv6, or IPv4 in the first four.
    pub local: [u8; 16],
    /// Remote address, likewise.
    pub remote: [u8; 16],
    /// Local port, host byte order.
    pub local_port: u16,
    /// Remote port, host byte order.
    pub remote_port: u16,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u16,
    /// TCP state (`TCP_ESTABLISHED` = 1 ...); 0 if there is no socket.
    pub state: u8,
    /// IP protocol of the socket, low 8 bits of `sk_protocol` (6 TCP, 17 UDP, 1 ICMP).
    pub protocol: u8,
}

/// A record without a full TCP socket.
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy)]
pub struct Record {
    /// When and what.
    pub header: Header,
    /// Whose.
    pub endpoint: Endpoint,
    /// The task that ran; to be believed about the socket only with [`OWNED`]. `how` holds its thread id.
    pub current: Task,
    /// The socket's process, as learnt before.
    pub owner: Task,
    /// The signal's own.
    pub detail: Detail,
}

/// What a full TCP socket knows at the instant of the event. Bytes unless said otherwise.
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp {
    /// `jiffies_64` now; every field in jiffies is to be compared with it.
    pub jiffies: u64,
    /// When the pending timer (`pending`) fires, jiffies; [`ABSENT64`] if not to be read.
    pub timer_expires: u64,
    /// When the keepalive timer fires, jiffies; [`ABSENT64`] if not to be read.
    pub keepalive_expires: u64,
    /// `bytes_acked`: sent and acknowledged.
    pub bytes_acked: u64,
    /// `bytes_sent`: sent, retransmissions included.
    pub bytes_sent: u64,
    /// `bytes_received`: received in order.
    pub bytes_received: u64,
    /// `bytes_retrans`: sent again.
    pub bytes_retrans: u64,
    /// `skc_flags` (bit 0 SOCK_DEAD, 3 SOCK_KEEPOPEN, 4 SOCK_LINGER).
    pub sock_flags: u64,
    /// `sk_lingertime`, jiffies.
    pub linger: u64,
    /// Time spent sending, limited by the receive window and limited by the send buffer, jiffies
    /// (`chrono_stat`, and what runs since `chrono_start`).
    pub chrono: [u32; 3],
    /// `icsk_rto`, jiffies.
    pub rto: u32,
    /// `icsk_rto_min`, jiffies.
    pub rto_min: u32,
    /// `icsk_rto_max`, jiffies; [`ABSENT32`] before 6.15.
    pub rto_max: u32,
    /// `icsk_user_timeout`, ms; 0 unset.
    pub user_timeout: u32,
    /// `icsk_probes_tstamp`, jiffies (32 bit).
    pub probes_tstamp: u32,
    /// Smoothed round trip time, µs (`srtt_us >> 3` done by the daemon: this is the raw value, 8 times).
    pub srtt_us: u32,
    /// Round trip time variation, µs.
    pub rttvar_us: u32,
    /// Congestion window, packets.
    pub snd_cwnd: u32,
    /// Slow start threshold, packets.
    pub snd_ssthresh: u32,
    /// Window the peer offers.
    pub snd_wnd: u32,
    /// Window offered to the peer.
    pub rcv_wnd: u32,
    /// Packets in flight, lost, selectively acknowledged, retransmitted and not yet acknowledged.
    pub packets_out: u32,
    /// See `packets_out`.
    pub lost_out: u32,
    /// See `packets_out`.
    pub sacked_out: u32,
    /// See `packets_out`.
    pub retrans_out: u32,
    /// First sequence number not yet acknowledged.
    pub snd_una: u32,
    /// Next sequence number to send.
    pub snd_nxt: u32,
    /// Last byte the application wrote, plus one.
    pub write_seq: u32,
    /// First byte the application has not read.
    pub copied_seq: u32,
    /// Next sequence number expected.
    pub rcv_nxt: u32,
    /// Segments sent again in this connection's life.
    pub total_retrans: u32,
    /// Time of the first retransmission of the episode, ms (µs if `usec_ts`); 0 outside one.
    pub retrans_stamp: u32,
    /// `undo_marker`: 0 if nothing can be undone.
    pub undo_marker: u32,
    /// Retransmissions not yet proved spurious by DSACK; -1 or 0 once all are.
    pub undo_retrans: i32,
    /// Duplicate segments the peer reported (DSACK).
    pub dsack_dups: u32,
    /// Reordering seen, packets.
    pub reordering: u32,
    /// Data segments sent.
    pub data_segs_out: u32,
    /// `rcv_tstamp`: last ACK, jiffies (32 bit).
    pub rcv_tstamp: u32,
    /// `lsndtime`: last data sent, jiffies (32 bit).
    pub lsndtime: u32,
    /// TCP_KEEPIDLE, jiffies; 0 is the namespace's.
    pub keepalive_time: u32,
    /// TCP_KEEPINTVL, jiffies; 0 is the namespace's.
    pub keepalive_intvl: u32,
    /// TCP_LINGER2, jiffies; 0 is the namespace's, negative none.
    pub linger2: i32,
    /// Timeouts in this connection's life; [`ABSENT32`] before 6.7.
    pub total_rto: u32,
    /// Maximum segment size in use.
    pub mss: u32,
    /// Receive memory in use (`sk_rmem_alloc`).
    pub rmem_alloc: u32,
    /// SO_RCVBUF.
    pub rcvbuf: u32,
    /// Send memory queued (`sk_wmem_queued`).
    pub wmem_queued: u32,
    /// SO_SNDBUF.
    pub sndbuf: u32,
    /// Memory charged ahead of use.
    pub forward_alloc: i32,
    /// Bytes in the backlog while the owner held the lock.
    pub backlog: u32,
    /// `sk_err`: errno the application will see; 0 none.
    pub err: i32,
    /// `sk_err_soft`: errno of an ICMP error, not yet fatal.
    pub err_soft: i32,
    /// Consecutive timeouts of the episode.
    pub retransmits: u8,
    /// Exponent of the RTO.
    pub backoff: u8,
    /// Zero-window or keepalive probes not answered.
    pub probes_out: u8,
    /// `icsk_pending`: 0 none, 1 RTO, 3 zero-window probe, 5 tail loss probe, 6 reordering.
    pub pending: u8,
    /// Congestion state: 0 Open, 1 Disorder, 2 CWR, 3 Recovery, 4 Loss.
    pub ca_state: u8,
    /// TCP_SYNCNT; 0 is the namespace's.
    pub syn_retries: u8,
    /// TCP_KEEPCNT; 0 is the namespace's.
    pub keepalive_probes: u8,
    /// `sk_shutdown`: bit 0 receive, bit 1 send.
    pub shutdown: u8,
    /// `sk_userlocks`: bit 0 SO_SNDBUF, bit 1 SO_RCVBUF set by the application.
    pub userlocks: u8,
    /// 1: `retrans_stamp` counts µs; 0: ms; [`ABSENT8`] is 0.
    pub usec_ts: u8,
    /// 1: a subflow of Multipath TCP; [`ABSENT8`] before 5.16 or without MPTCP.
    pub is_mptcp: u8,
    /// 1: `sk_socket` is set, so some file refers to the socket.
    pub has_socket: u8,
    /// `icsk_ack.lrcvtime`: last data received, jiffies (32 bit); 0 before any, or if not to be read.
    pub lrcvtime: u32,
    /// Zero.
    pub reserved: [u8; 4],
}

/// Settings of the socket's network namespace that decide when the kernel gives up.
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Netns {
    /// `tcp_keepalive_time`, jiffies.
    pub keepalive_time: u32,
    /// `tcp_keepalive_intvl`, jiffies.
    pub keepalive_intvl: u32,
    /// `tcp_fin_timeout`, jiffies.
    pub fin_timeout: u32,
    /// `tcp_rmem[2]`: SO_RCVBUF that autotuning ends at, bytes; [`ABSENT32`] if not to be read.
    pub rmem: u32,
    /// `tcp_wmem[2]`: SO_SNDBUF that autotuning ends at, bytes; [`ABSENT32`] if not to be read.
    pub wmem: u32,
    /// `tcp_retries1`.
    pub retries1: u8,
    /// `tcp_retries2`.
    pub retries2: u8,
    /// `tcp_syn_retries`.
    pub syn_retries: u8,
    /// `tcp_synack_retries`.
    pub synack_retries: u8,
    /// `tcp_orphan_retries`.
    pub orphan_retries: u8,
    /// `tcp_syn_linear_timeouts`; [`ABSENT8`] before 6.5.
    pub syn_linear_timeouts: u8,
    /// `tcp_keepalive_probes`.
    pub keepalive_probes: u8,
    /// `tcp_abort_on_overflow`.
    pub abort_on_overflow: u8,
    /// `tcp_thin_linear_timeouts`.
    pub thin_linear_timeouts: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// What the kernel side has counted of one connection since it first saw it, this event included.
/// A lost record loses a line, never a count.
#[repr(C, align(8))]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Segments sent again, by [`crate::retransmit`] kind.
    pub segments: [u32; crate::retransmit::END as usize],
    /// Retransmissions that failed locally (6.17+).
    pub failed: u32,
    /// Resets sent.
    pub resets_sent: u32,
    /// Resets received.
    pub resets_received: u32,
    /// Memory refusals.
    pub buf_limit_exceeded: u32,
    /// Received segments dropped for want of memory or of room in a queue (6.11+).
    pub dropped: u32,
    /// Zero.
    pub reserved: u32,
}

/// A record with a full TCP socket.
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy)]
pub struct TcpRecord {
    /// What every record has.
    pub record: Record,
    /// The socket.
    pub tcp: Tcp,
    /// Its namespace's settings.
    pub netns: Netns,
    /// Its totals.
    pub totals: Totals,
}

const _: () = {
    assert!(size_of::<Header>() == 16);
    assert!(size_of::<Task>() == 24);
    assert!(size_of::<Endpoint>() == 72);
    assert!(size_of::<Record>() == 184);
    assert!(size_of::<Tcp>() == 272);
    assert!(size_of::<Netns>() == 32);
    assert!(size_of::<Totals>() == 56);
    assert!(size_of::<TcpRecord>() == 544);
    // Those with a `Detail` cannot be `IntoBytes`: its members differ in length. No padding here either.
    let tasks = 2 * size_of::<Task>();
    assert!(size_of::<Record>() == size_of::<Header>() + size_of::<Endpoint>() + tasks + size_of::<Detail>());
    let tcp = size_of::<Tcp>() + size_of::<Netns>() + size_of::<Totals>();
    assert!(size_of::<TcpRecord>() == size_of::<Record>() + tcp);
};
