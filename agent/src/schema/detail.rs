//! What the lines of one signal have beside all others.

use agent_model::event::{Direction, RetransmitKind, TcpState};
use agent_model::{event, words};
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// A segment sent again.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retransmit {
    /// Why.
    pub kind: RetransmitKind,
    /// n-th consecutive timeout of this stall, from 1.
    pub stage: Option<u32>,
    /// Retransmission timeout in force.
    pub rto_ms: Option<u64>,
    /// 0 sent, negative errno, 1 dropped by the local queueing discipline.
    pub err: i32,
    /// Segments.
    pub segments: u16,
    /// First sequence number.
    pub seq: Option<u32>,
    /// One past the last sequence number.
    pub end_seq: Option<u32>,
    /// TCP flags.
    pub flags: Option<String>,
}

/// A reset that this host sent.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// `enum sk_rst_reason` of the running kernel, without its prefix; a number if it has no name.
    pub reason: Option<String>,
    /// On this side's initiative, not in answer to a segment.
    pub active: bool,
    /// How the process ends that closed its sockets by ending.
    pub exit: Option<Exit>,
    /// Whether somebody listens on the local address and port.
    pub listening: Option<bool>,
    /// Bytes received that the application had not read.
    pub unread_bytes: Option<u32>,
    /// Bytes written that were never sent.
    pub unsent_bytes: Option<u32>,
    /// Bytes sent and not acknowledged.
    pub unacked_bytes: Option<u32>,
    /// Kernel functions that led to it, innermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<String>,
    /// The segment that it answers.
    pub trigger: Option<Trigger>,
}

/// The end of a process.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// What it gave to exit(3).
    pub status: Option<u8>,
    /// Name of the signal that ended it, as `SIGKILL`.
    pub signal: Option<String>,
    /// The kernel's OOM killer chose it.
    pub oom: bool,
}

impl From<event::Exit> for Exit {
    fn from(exit: event::Exit) -> Self {
        Self { status: exit.status(), signal: exit.signal().map(words::signal), oom: exit.oom }
    }
}

/// A received segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// TCP flags.
    pub flags: String,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Payload bytes.
    pub len: u32,
}

/// A change of state.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateChange {
    /// Before.
    pub old: TcpState,
    /// After.
    pub new: TcpState,
    /// errno that the application will see.
    pub error: Option<String>,
}

/// Memory that was refused.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Which side of the socket.
    pub direction: Direction,
    /// The protocol's name in the kernel.
    pub protocol: String,
    /// Pages of the protocol with the refused ones.
    pub allocated_pages: i64,
    /// The protocol is under pressure; absent of a protocol that knows none.
    pub pressure: Option<bool>,
    /// Kernel id of the memory cgroup that the socket is charged to.
    pub cgroup: Option<u64>,
}

/// A received packet that was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketDrop {
    /// The kernel's reason without its prefix; its number where the kernel does not name it.
    pub reason: String,
    /// Kernel memory of the packet, bytes.
    pub truesize: u32,
}

/// A receive queue that was full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Bytes in use.
    pub rmem_alloc: u32,
    /// `SO_RCVBUF`, bytes.
    pub rcvbuf: u32,
    /// Kernel memory of the packet that did not fit, bytes.
    pub truesize: u32,
}

/// Queues of a listener.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerQueues {
    /// Half-open connections.
    pub syn_queue: Option<u32>,
    /// Connections waiting for accept.
    pub accept_queue: u32,
    /// Limit of the accept queue.
    pub backlog: u32,
}
