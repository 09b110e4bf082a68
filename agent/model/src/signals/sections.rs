//! What the lines of some signals have beside all others.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::{BufLimitExceeded, RcvqueueFull, packet_dropped, reset_sent, retransmit, state_changed};

/// The sections, each under its name; those that a signal does not have are left out.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sections {
    /// Of `retransmit` and `synack_retransmit`.
    pub retransmit: Option<retransmit::Section>,
    /// Of `reset_sent`.
    pub reset: Option<reset_sent::Section>,
    /// Of `state_changed`.
    pub state_change: Option<state_changed::Section>,
    /// Of `buf_limit_exceeded`.
    pub memory: Option<BufLimitExceeded>,
    /// Of `rcvqueue_full`.
    pub queue: Option<RcvqueueFull>,
    /// Of `packet_dropped`.
    pub drop: Option<packet_dropped::Section>,
    /// Of `synack_retransmit`, and of a listener's `state_changed` and `packet_dropped`.
    pub listener: Option<ListenerQueues>,
}

/// Queues of a listener.
#[skip_serializing_none]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerQueues {
    /// Half-open connections.
    pub syn_queue: Option<u32>,
    /// Connections waiting for accept.
    pub accept_queue: u32,
    /// Limit of the accept queue.
    pub backlog: u32,
}
