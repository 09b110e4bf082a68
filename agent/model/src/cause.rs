//! The causes: a closed list, each with a page in docs/causes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident $word:literal;)*) => {
        /// Why a connection stalled or died.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Cause { $($(#[$doc])* $name,)* }

        impl Cause {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
            /// Their words, in the same order.
            pub const WORDS: &'static [&'static str] = &[$($word),*];
        }
    };
}

causes! {
    /// `close()` with data in the receive queue: the kernel must reset (RFC 1122 §4.2.2.13).
    ClosedWithUnreadData "closed_with_unread_data";
    /// `SO_LINGER` with no time, or `TCP_LINGER2` below 0, and `close()`.
    LingerAbort "linger_abort";
    /// The peer sent after this side had closed.
    DataAfterClose "data_after_close";
    /// `connect(AF_UNSPEC)`.
    Disconnect "disconnect";
    /// `tcp_abort`: `ss -K`, `bpf_sock_destroy`.
    Killed "killed";
    /// The listener closed before it had accepted the connection.
    ListenerClosed "listener_closed";
    /// Keepalive probes went unanswered.
    KeepaliveTimeout "keepalive_timeout";
    /// `TCP_USER_TIMEOUT` ran out.
    UserTimeout "user_timeout";
    /// Nobody listens there.
    ConnectionRefused "connection_refused";
    /// The listener accepts too slowly.
    AcceptQueueFull "accept_queue_full";
    /// No local port was free for a `connect()`.
    NoLocalPort "no_local_port";
    /// An ICMP message refused a `connect()`.
    IcmpUnreachable "icmp_unreachable";
    /// Too many half-open connections.
    SynQueueFull "syn_queue_full";
    /// Data went unanswered for `tcp_retries2`: dead peer or black hole.
    RetransmissionTimeout "retransmission_timeout";
    /// Full-sized segments vanish, shorter ones arrive.
    PathMtuBlackHole "path_mtu_black_hole";
    /// SYNs went unanswered.
    ConnectTimeout "connect_timeout";
    /// Closed here, and the peer did not take the rest in time.
    OrphanTimeout "orphan_timeout";
    /// The peer's window stayed shut, and probes went unanswered.
    ZeroWindowTimeout "zero_window_timeout";
    /// The peer sent a RST.
    PeerReset "peer_reset";
    /// `tcp_mem` is used up.
    OutOfTcpMemory "out_of_tcp_memory";
    /// Memory for the socket was refused.
    MemoryPressure "memory_pressure";
    /// The cgroup's limit refused memory.
    CgroupMemoryLimit "cgroup_memory_limit";
    /// More closed sockets than `tcp_max_orphans`.
    TooManyOrphans "too_many_orphans";
    /// The application does not read.
    ReceiveBufferFull "receive_buffer_full";
    /// The application writes faster than the peer takes.
    SendBufferFull "send_buffer_full";
    /// The peer's window is shut: its application does not read.
    ZeroWindow "zero_window";
    /// Packets are lost on the way.
    LossyPath "lossy_path";
    /// The last packets of a burst are lost.
    TailLoss "tail_loss";
    /// Packets overtake one another.
    Reordering "reordering";
    /// What was sent again had arrived.
    SpuriousRetransmit "spurious_retransmit";
    /// Seen, and not recognised.
    Unknown "unknown";
}

/// The text names no cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not one of {}", Cause::WORDS.join(", "))]
pub struct NoCause;

impl Cause {
    /// The word.
    pub fn as_str(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Cause {
    type Err = NoCause;

    fn from_str(text: &str) -> Result<Self, NoCause> {
        Self::ALL.iter().copied().find(|cause| cause.as_str() == text).ok_or(NoCause)
    }
}
