//! What the lines of some signals have beside all others.

use serde::{Deserialize, Serialize};

use super::{BufLimitExceeded, RcvqueueFull, packet_dropped, reset_sent, retransmit, state_changed};

/// The sections, each under its name; those that a signal does not have are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sections {
    /// Of `retransmit` and `synack_retransmit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmit: Option<retransmit::Section>,
    /// Of `reset_sent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset: Option<reset_sent::Section>,
    /// Of `state_changed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_change: Option<state_changed::Section>,
    /// Of `buf_limit_exceeded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<BufLimitExceeded>,
    /// Of `rcvqueue_full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<RcvqueueFull>,
    /// Of `packet_dropped`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop: Option<packet_dropped::Section>,
    /// Of `synack_retransmit`, and of a listener's `state_changed` and `packet_dropped`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<ListenerQueues>,
}

/// Queues of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerQueues {
    /// Half-open connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syn_queue: Option<u32>,
    /// Connections waiting for accept.
    pub accept_queue: u32,
    /// Limit of the accept queue.
    pub backlog: u32,
}
