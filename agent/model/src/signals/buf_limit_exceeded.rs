//! Memory for a socket was refused.

use agent_common::record::{self, ABSENT8};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::{Describe, Kept, Known, Mark, Recorded, Sections, Signal, Way, narrow};
use crate::decode::{DecodeError, nonzero, text};
use crate::event::{Direction, HostFacts, KernelEvent};
use crate::words;

/// `sock_exceed_buf_limit`; as it stands in a line.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BufLimitExceeded {
    /// Which side of the socket.
    pub direction: Direction,
    /// The protocol's name in the kernel, e.g. `TCP`, `UDP`.
    pub protocol: Box<str>,
    /// Pages of the protocol with the refused ones.
    #[serde(rename = "allocated_pages")]
    pub allocated: i64,
    /// Whether the protocol is under pressure; `None` of a protocol that knows none.
    pub pressure: Option<bool>,
    /// Kernel id of the memory cgroup that the socket is charged to; `None` if to none.
    #[serde(rename = "cgroup")]
    pub memory_cgroup: Option<u64>,
}

/// In a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Which side.
    pub direction: Direction,
    /// Pages of the protocol after the refused add; stops at `u32::MAX`.
    pub allocated: u32,
    /// Whether the protocol was under pressure; `None` where it knows none.
    pub pressure: Option<bool>,
    /// Whether the socket is charged to a memory cgroup.
    pub in_cgroup: bool,
}

impl Recorded for BufLimitExceeded {
    type Record = record::BufLimitExceeded;
    type Kept = Refusal;
    const MARK: Mark = Mark::Shortage;
    const WAY: Way = Way::Out;

    fn decode(raw: Self::Record, _: &record::Header) -> Result<Self, DecodeError> {
        let record::BufLimitExceeded { memory_cgroup, allocated, direction, pressure, reserved: _, protocol } =
            raw;
        let direction = match direction {
            0 => Direction::Send,
            1 => Direction::Receive,
            _ => return Err(DecodeError::Direction(direction.into())),
        };
        Ok(Self {
            direction,
            protocol: text(&protocol),
            allocated: allocated.into(),
            pressure: (pressure != ABSENT8).then_some(pressure != 0),
            memory_cgroup: nonzero(memory_cgroup),
        })
    }

    fn keep(&self, _: &KernelEvent, _: Option<u32>) -> Refusal {
        let Self { direction, protocol: _, allocated, pressure, memory_cgroup } = *self;
        let allocated = narrow(allocated.max(0), u32::MAX);
        Refusal { direction, allocated, pressure, in_cgroup: memory_cgroup.is_some() }
    }
}

impl Signal for BufLimitExceeded {
    fn sections(&self, _known: &Known<'_>) -> Sections {
        Sections { memory: Some(self.clone()), ..Sections::default() }
    }
}

impl Kept for Refusal {
    fn joined_by(&self, next: &Self) -> Option<Self> {
        (self.direction == next.direction).then_some(*next)
    }
}

impl Describe for Refusal {
    fn text(&self, _host: &HostFacts) -> String {
        let (direction, allocated) = (words::direction(self.direction), self.allocated);
        format!("memory to {direction} refused, TCP has {allocated} pages")
    }
}
