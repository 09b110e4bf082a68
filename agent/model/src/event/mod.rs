//! What happened, typed: the output of `decode`, the input of everything after it.
//!
//! Kernel records and facts about the host travel the same road, so that a recording replays the
//! production path exactly: nothing past the source reads a clock, /proc or the kernel.

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod fact;
mod flags;
mod memory;
mod pod;
mod tcp;

pub use fact::{CountRow, Fact, ForkCount, HealthRow, HostFacts, ProcessRow, Room, Settings, Usage};
pub use flags::TcpFlags;
pub use memory::{Buffers, COUNTERS, CgroupMemory, LogLines, Snmp, TcpMemory};
pub use pod::{Owned, Pod};
pub use tcp::Tcp;

use crate::signals::Signal;
pub use crate::signals::{Detail, SockHeld};

/// One step of the stream.
#[derive(Clone, Debug)]
pub enum Event {
    /// A kernel hook fired.
    Kernel(Box<KernelEvent>),
    /// A process has a TCP socket among its open files (the file iterator's finding).
    SockHeld(Box<SockHeld>),
    /// A fact about the host.
    Fact(Fact),
}

/// A hook fired.
#[derive(Clone, Debug)]
pub struct KernelEvent {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// How many events this one stands for, at least 1.
    pub stands_for: u32,
    /// Whose.
    pub endpoint: Endpoint,
    /// The task that holds the socket's lock; `None` in interrupt context, where the running task is anybody.
    pub current: Option<Thread>,
    /// The socket's process as the kernel side learnt it before or at this event.
    pub owner: Option<Owner>,
    /// What only this signal has.
    pub detail: Detail,
    /// What the socket knew; `None` without a full TCP socket.
    pub tcp: Option<Tcp>,
}

/// `tcp_abort` (`ss -K`, `bpf_sock_destroy`) leaves it in `sk_err`.
pub const ECONNABORTED: i32 = libc::ECONNABORTED;

impl KernelEvent {
    /// What answers for its signal.
    pub fn signal(&self) -> &dyn Signal {
        self.detail.as_signal()
    }

    /// The socket's own state at the event; a half-open connection's is not its socket's.
    pub fn state_before(&self) -> Option<TcpState> {
        self.endpoint.state.filter(|_| !self.endpoint.request)
    }

    /// `sk_err`; 0 if there is none, or no full socket.
    pub fn errno(&self) -> i32 {
        self.tcp.as_ref().map_or(0, |tcp| tcp.raw.err)
    }
}

/// Identity of a socket, or of a packet's two ends where there is no socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Address of the `struct sock`; `None` without one. Names a connection until `sock_destroyed`.
    pub sk: Option<u64>,
    /// Socket cookie; `None` without a full socket or before 5.12.
    pub cookie: Option<u64>,
    /// cgroup v2 id; `None` without a full socket.
    pub cgroup: Option<u64>,
    /// Inode of the network namespace.
    pub netns: u32,
    /// Owner's user id.
    pub uid: Option<u32>,
    /// This host's side. IPv4-mapped IPv6 addresses are shown as IPv4, see `mapped`.
    pub local: SocketAddr,
    /// The peer.
    pub remote: SocketAddr,
    /// An IPv6 socket that talks IPv4 (`::ffff:a.b.c.d`).
    pub mapped: bool,
    /// State at the event (before it, for a change of state); `None` without a socket.
    pub state: Option<TcpState>,
    /// IP protocol number (6 is TCP).
    pub protocol: u8,
    /// The socket is a `TIME_WAIT` mini socket: the application closed before.
    pub time_wait: bool,
    /// The socket is a listener that stands in for a half-open connection.
    pub request: bool,
}

/// A running thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its process.
    pub process: Process,
    /// Its own id.
    pub tid: u32,
}

/// How a process ends that closes its sockets by ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// `task_struct.exit_code`: as wait(2) has it.
    code: u16,
    /// The kernel's OOM killer chose it (`signal_struct.oom_mm`).
    pub oom: bool,
}

impl Exit {
    /// With a code as wait(2) has it.
    pub fn new(code: u16, oom: bool) -> Self {
        Self { code, oom }
    }

    /// The signal that ends it.
    pub fn signal(self) -> Option<u8> {
        Some((self.code & 0x7f) as u8).filter(|signal| *signal != 0)
    }

    /// What it gave to exit(3), 0 to 255, if no signal ends it.
    pub fn status(self) -> Option<u8> {
        self.signal().is_none().then_some((self.code >> 8) as u8)
    }
}

/// A process. `comm` may hold any character: escape it wherever it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Its name, at most 15 bytes, made valid UTF-8.
    pub comm: Box<str>,
}

/// A process and how it was learnt that the socket is its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// Who.
    #[serde(flatten)]
    pub process: Process,
    /// How.
    pub source: OwnerSource,
}

/// How an owner was learnt, in rising order of trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OwnerSource {
    /// Nobody better is known: the process that listens on the connection's port.
    Listener,
    /// It has the socket among its open files.
    File,
    /// It ran with the socket's lock held, for example in `close()`.
    Lock,
    /// It called `listen()` on this very socket.
    Listen,
    /// It called `connect()` on this very socket.
    Connect,
}

/// RFC 9293 §3.3.2, with the kernel's names (`include/net/tcp_states.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(u8)]
pub enum TcpState {
    /// Data flows.
    Established = 1,
    /// `connect()` waits for the SYN-ACK.
    SynSent = 2,
    /// Half open.
    SynRecv = 3,
    /// Closed here, FIN not yet acknowledged.
    FinWait1 = 4,
    /// Closed here, FIN acknowledged.
    FinWait2 = 5,
    /// Closed by both, waiting for strays.
    TimeWait = 6,
    /// No connection.
    Close = 7,
    /// Closed by the peer.
    CloseWait = 8,
    /// Closed by the peer, then here.
    LastAck = 9,
    /// Waiting for connections.
    Listen = 10,
    /// Closed by both at once.
    Closing = 11,
    /// A request socket.
    NewSynRecv = 12,
}

/// Why a segment was sent again; words of OpenTelemetry's `network.tcp.retransmit.type` where it has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[repr(u16)]
pub enum RetransmitKind {
    /// None of the kernel's known ways.
    Unknown = 0,
    /// The retransmission timer fired.
    Timeout = 1,
    /// Recovery clocked by ACKs.
    Fast = 2,
    /// The last segment again, to provoke an ACK.
    TailLossProbe = 3,
    /// RACK's reordering timer fired.
    Reorder = 4,
    /// After a timeout, clocked by ACKs.
    SlowStart = 5,
    /// A SYN.
    Syn = 6,
    /// A SYN-ACK.
    Synack = 7,
}

/// A received segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Segment {
    /// TCP flags.
    pub flags: TcpFlags,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Payload bytes.
    pub len: u32,
}

/// Which side of a socket's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// `SK_MEM_SEND`
    Send,
    /// `SK_MEM_RECV`
    Receive,
}

/// An address without its IPv4-mapped dress, and whether it wore one.
pub fn unmap(address: IpAddr) -> (IpAddr, bool) {
    let bare = address.to_canonical();
    (bare, bare != address)
}
