//! A datagram did not fit SO_RCVBUF. Never TCP's receive path.

use agent_common::record;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Describe, Kept, Known, Mark, Recorded, Sections, Signal, Way};
use crate::decode::DecodeError;
use crate::event::{HostFacts, KernelEvent};

/// `sock_rcvqueue_full`; as it stands in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RcvqueueFull {
    /// Receive memory in use, bytes.
    pub rmem_alloc: u32,
    /// `SO_RCVBUF`, bytes.
    pub rcvbuf: u32,
    /// Kernel memory of the packet that did not fit, bytes.
    pub truesize: u32,
}

/// In a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueFull;

impl Recorded for RcvqueueFull {
    type Record = record::RcvqueueFull;
    type Kept = QueueFull;
    const MARK: Mark = Mark::Shortage;
    const WAY: Way = Way::In;

    fn decode(raw: Self::Record, _: &record::Header) -> Result<Self, DecodeError> {
        let record::RcvqueueFull { truesize, rmem_alloc, rcvbuf, reserved: _ } = raw;
        Ok(Self { rmem_alloc, rcvbuf, truesize })
    }

    fn keep(&self, _: &KernelEvent, _: Option<u32>) -> QueueFull {
        QueueFull
    }
}

impl Signal for RcvqueueFull {
    fn sections(&self, _known: &Known<'_>) -> Sections {
        Sections { queue: Some(*self), ..Sections::default() }
    }
}

impl Kept for QueueFull {}

impl Describe for QueueFull {
    fn text(&self, _host: &HostFacts) -> String {
        "receive queue full".to_owned()
    }
}
