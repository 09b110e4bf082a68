//! The causes: a closed list, each with a page in docs/causes.
//!
//! All that is listed by cause follows from the table below: the index of the pages, the alerts and their tests
//! (`generated.rs` writes them), what evidence of others a diagnosis takes in. The rule that finds a cause stands in
//! `agent/diagnose/src/causes`, where a cause without one does not compile.

mod columns;

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::columns::{Alert, Kin, NamesFamily, NamesHolders, Row, Severity};

macro_rules! causes {
    ($(
        #[doc = $brief:literal]
        $name:ident $word:literal {
            kin: $kin:ident, family: $family:ident, holders: $holders:ident,
            alert: $severity:ident > $above:literal, $summary:literal,
        }
    )*) => {
        /// Why a connection stalled or died.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Cause { $(#[doc = $brief] $name,)* }

        impl Cause {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
            /// Their words, in the same order.
            pub const WORDS: &'static [&'static str] = &[$($word),*];
        }

        /// The columns, in the same order.
        const TABLE: &[Row] = &[$(Row {
            brief: $brief,
            kin: Kin::$kin,
            family: NamesFamily::$family,
            holders: NamesHolders::$holders,
            alert: Alert { severity: Severity::$severity, above: $above, summary: $summary },
        }),*];
    };
}

// The doc comment is the cause's sentence in the index.
causes! {
    /// Closed here with received data unread: the kernel must reset (RFC 1122 §4.2.2.13).
    ClosedWithUnreadData "closed_with_unread_data" {
        kin: ResetHere, family: IfItForks, holders: Never,
        alert: Warning > 10, "connections reset because their process closed before it had read all",
    }
    /// Closed here with `SO_LINGER` of 0, or `TCP_LINGER2` below 0.
    LingerAbort "linger_abort" {
        kin: ResetHere, family: IfItForks, holders: Never,
        alert: Info > 100, "connections reset on purpose: SO_LINGER without time",
    }
    /// Closed here, and the peer sent more.
    DataAfterClose "data_after_close" {
        kin: ResetHere, family: IfItForks, holders: Never,
        alert: Warning > 50, "connections reset because the peer sent after the close",
    }
    /// Disconnected here by `connect(AF_UNSPEC)`.
    Disconnect "disconnect" {
        kin: ResetHere, family: IfItForks, holders: Never,
        alert: Info > 100, "connections reset by connect(AF_UNSPEC)",
    }
    /// Destroyed from outside (`tcp_abort`): `ss -K`, `bpf_sock_destroy`.
    Killed "killed" {
        kin: ResetHere, family: Never, holders: Never,
        alert: Warning > 10, "connections killed from outside (ss -K)",
    }
    /// The listener closed before it had accepted the connection.
    ListenerClosed "listener_closed" {
        kin: ResetHere, family: IfItForks, holders: Never,
        alert: Warning > 10, "connections reset because the listener closed before it had accepted them",
    }
    /// Idle, and keepalive probes went unanswered.
    KeepaliveTimeout "keepalive_timeout" {
        kin: ResetHere, family: Never, holders: Never,
        alert: Warning > 10, "connections whose keepalive probes went unanswered",
    }
    /// Data went unanswered for `TCP_USER_TIMEOUT`.
    UserTimeout "user_timeout" {
        kin: SilentPeer, family: Never, holders: Never,
        alert: Warning > 10, "connections that TCP_USER_TIMEOUT ended",
    }
    /// Nobody listens there.
    ConnectionRefused "connection_refused" {
        kin: Handshake, family: Never, holders: Never,
        alert: Warning > 50, "connects to a port where nobody listens",
    }
    /// The listener accepts too slowly.
    AcceptQueueFull "accept_queue_full" {
        kin: Handshake, family: Always, holders: Never,
        alert: Critical > 10, "connections lost at a full accept queue",
    }
    /// No local port was free for a `connect()`.
    NoLocalPort "no_local_port" {
        kin: Handshake, family: Never, holders: Never,
        alert: Warning > 10, "connects without a free local port",
    }
    /// A firewall rule of this host drops the packets.
    DroppedByNetfilter "dropped_by_netfilter" {
        kin: DroppedHere, family: Never, holders: Never,
        alert: Warning > 3, "connections whose packets this host's firewall dropped",
    }
    /// A firewall rule of this host rejects the packets, with a RST or an ICMP message.
    RejectedByNetfilter "rejected_by_netfilter" {
        kin: DroppedHere, family: Never, holders: Never,
        alert: Warning > 3, "connections that this host's firewall rejected",
    }
    /// This host has no route for the packets.
    NoRoute "no_route" {
        kin: DroppedHere, family: Never, holders: Never,
        alert: Warning > 3, "connections without a route on this host",
    }
    /// The next hop does not answer ARP or neighbour discovery.
    NextHopSilent "next_hop_silent" {
        kin: DroppedHere, family: Never, holders: Never,
        alert: Warning > 3, "connections whose next hop did not answer",
    }
    /// A queueing discipline of this host has no room for the packets.
    LocalQueueFull "local_queue_full" {
        kin: DroppedHere, family: Never, holders: Never,
        alert: Warning > 10, "connections ended by a full queue of this host's device",
    }
    /// The reverse path filter of this host drops the packets.
    ReversePathFilter "reverse_path_filter" {
        kin: DroppedHere, family: Never, holders: Never,
        alert: Warning > 3, "connections whose packets the reverse path filter dropped",
    }
    /// This host drops packets whose checksum is wrong.
    BadChecksum "bad_checksum" {
        kin: DroppedHere, family: Never, holders: Never,
        alert: Warning > 3, "connections whose packets had wrong checksums",
    }
    /// A BPF program or a filter of tc on this host drops the packets.
    DroppedByBpf "dropped_by_bpf" {
        kin: DroppedHere, family: Never, holders: Never,
        alert: Warning > 3, "connections whose packets a BPF program or tc filter dropped",
    }
    /// This host drops the packets for another reason.
    DroppedHere "dropped_here" {
        kin: DroppedHere, family: Never, holders: Never,
        alert: Warning > 3, "connections whose packets this host dropped",
    }
    /// An ICMP message answered the SYN of a `connect()`.
    IcmpUnreachable "icmp_unreachable" {
        kin: Handshake, family: Never, holders: Never,
        alert: Warning > 10, "connects that an ICMP message refused",
    }
    /// Too many half-open connections.
    SynQueueFull "syn_queue_full" {
        kin: Handshake, family: Never, holders: Never,
        alert: Critical > 10, "connections lost at a full SYN queue",
    }
    /// Data went unanswered for `tcp_retries2`: dead peer or black hole.
    RetransmissionTimeout "retransmission_timeout" {
        kin: SilentPeer, family: Never, holders: Never,
        alert: Warning > 5, "connections given up: the peer or the path is dead",
    }
    /// Long segments vanish, short ones arrive: a path MTU black hole.
    PathMtuBlackHole "path_mtu_black_hole" {
        kin: SilentPeer, family: Never, holders: Never,
        alert: Warning > 5, "connections whose full-sized segments vanish (path MTU)",
    }
    /// SYNs went unanswered.
    ConnectTimeout "connect_timeout" {
        kin: Handshake, family: Never, holders: Never,
        alert: Warning > 10, "connects that nobody answered",
    }
    /// Closed here, and the peer did not take the rest in time.
    OrphanTimeout "orphan_timeout" {
        kin: SilentPeer, family: IfItForks, holders: Never,
        alert: Info > 50, "closed connections whose peer did not take the rest",
    }
    /// The peer's window stayed shut, then probes went unanswered.
    ZeroWindowTimeout "zero_window_timeout" {
        kin: SilentPeer, family: Never, holders: Never,
        alert: Warning > 5, "connections given up because the peer did not read",
    }
    /// A segment met a host that has no such connection: moved, translated wrongly, or forgotten.
    NoSuchConnection "no_such_connection" {
        kin: ResetByPeer, family: Never, holders: Never,
        alert: Warning > 10, "connections reset by a host that did not have them",
    }
    /// The peer sent a RST.
    PeerReset "peer_reset" {
        kin: ResetByPeer, family: IfItForks, holders: Never,
        alert: Warning > 50, "connections reset by the peer",
    }
    /// `tcp_mem` is used up.
    OutOfTcpMemory "out_of_tcp_memory" {
        kin: Memory, family: Always, holders: OfHost,
        alert: Critical > 0, "connections ended because TCP is out of memory (tcp_mem)",
    }
    /// Memory for the socket was refused; by which limit is not certain.
    MemoryPressure "memory_pressure" {
        kin: Memory, family: Always, holders: OfHost,
        alert: Warning > 0, "connections ended under memory pressure",
    }
    /// The cgroup's limit refused memory.
    CgroupMemoryLimit "cgroup_memory_limit" {
        kin: Memory, family: Always, holders: OfCgroup,
        alert: Critical > 0, "connections ended because the cgroup has no memory",
    }
    /// More closed sockets than `tcp_max_orphans`.
    TooManyOrphans "too_many_orphans" {
        kin: ResetHere, family: Always, holders: OfHost,
        alert: Critical > 0, "connections ended because there are too many orphans",
    }
    /// The application here does not read.
    ReceiveBufferFull "receive_buffer_full" {
        kin: Trouble, family: Never, holders: Never,
        alert: Warning > 10, "connections ended with a full receive buffer",
    }
    /// The application here writes faster than the peer takes.
    SendBufferFull "send_buffer_full" {
        kin: Trouble, family: Never, holders: Never,
        alert: Warning > 10, "connections ended with a full send buffer",
    }
    /// The peer's window is shut: its application does not read.
    ZeroWindow "zero_window" {
        kin: Trouble, family: Never, holders: Never,
        alert: Warning > 10, "connections ended with a closed window",
    }
    /// Packets are lost on the way.
    LossyPath "lossy_path" {
        kin: Trouble, family: Never, holders: Never,
        alert: Warning > 10, "connections ended on a lossy path",
    }
    /// The last packets of a burst are lost.
    TailLoss "tail_loss" {
        kin: Trouble, family: Never, holders: Never,
        alert: Info > 50, "connections ended after lost tails",
    }
    /// Packets overtake one another.
    Reordering "reordering" {
        kin: Trouble, family: Never, holders: Never,
        alert: Info > 50, "connections ended on a path that reorders",
    }
    /// What was sent again had arrived.
    SpuriousRetransmit "spurious_retransmit" {
        kin: Trouble, family: Never, holders: Never,
        alert: Info > 50, "connections ended after needless retransmissions",
    }
    /// Seen, and not recognised.
    Unknown "unknown" {
        kin: Nothing, family: Never, holders: Never,
        alert: Info > 50, "connections ended for no known reason",
    }
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

    /// This host dropped the packets.
    pub fn is_drop(self) -> bool {
        self.row().kin == Kin::DroppedHere
    }

    /// What the table has on it.
    pub fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Its page, from the project's root.
    pub fn page(self) -> String {
        format!("docs/causes/{self}.md")
    }
}

impl Kin {
    /// In the order of the index.
    pub const ALL: [Self; 8] = [
        Self::ResetHere,
        Self::Handshake,
        Self::DroppedHere,
        Self::SilentPeer,
        Self::ResetByPeer,
        Self::Memory,
        Self::Trouble,
        Self::Nothing,
    ];

    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::ResetHere => "This host sent a reset",
            Self::Handshake => "A handshake failed",
            Self::DroppedHere => "This host dropped the packets",
            Self::SilentPeer => "The peer fell silent: ends by a timer, or a stall on its way there",
            Self::ResetByPeer => "The peer sent a reset",
            Self::Memory => "Memory",
            Self::Trouble => "The connection lives and has trouble",
            Self::Nothing => "None of these",
        }
    }
}

impl Severity {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
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
