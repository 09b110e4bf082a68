//! A received packet was dropped for want of memory or of room in a socket's queue.

use agent_common::record;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Describe, Kept, Known, ListenerQueues, Mark, Reason, Recorded, Sections, Signal, Way, narrow};
use crate::decode::DecodeError;
use crate::event::{HostFacts, KernelEvent};

/// `kfree_skb`, of a received packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketDropped {
    /// Number of the kernel's reason, named by [`HostFacts::drop_reasons`].
    pub reason: u32,
    /// Kernel memory of the packet, bytes.
    pub truesize: u32,
    /// Connections waiting for accept, of a listener.
    pub accept_queue: u32,
    /// Limit of the accept queue, of a listener.
    pub backlog: u32,
}

/// In a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Number of the kernel's reason.
    pub reason: u16,
}

/// In a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PacketDrop")]
pub struct Section {
    /// The kernel's reason without its prefix; its number where the kernel does not name it.
    pub reason: String,
    /// Kernel memory of the packet, bytes.
    pub truesize: u32,
}

impl Recorded for PacketDropped {
    type Record = record::PacketDropped;
    type Kept = Dropped;
    const MARK: Mark = Mark::Shortage;
    const WAY: Way = Way::In;

    fn decode(raw: Self::Record, _: &record::Header) -> Result<Self, DecodeError> {
        let record::PacketDropped { reason, truesize, accept_queue, backlog } = raw;
        Ok(Self { reason, truesize, accept_queue, backlog })
    }

    fn keep(&self, _: &KernelEvent, _: Option<u32>) -> Dropped {
        Dropped { reason: narrow(self.reason, u16::MAX) }
    }
}

impl Signal for PacketDropped {
    fn reason(&self) -> Option<Reason> {
        Some(Reason::Drop(self.reason))
    }

    /// The queues of any other socket than a listener mean nothing.
    fn sections(&self, known: &Known<'_>) -> Sections {
        let Self { reason, truesize, accept_queue, backlog } = *self;
        let listens = known.event.endpoint.request;
        Sections {
            drop: Some(Section { reason: known.reason_or(reason), truesize }),
            listener: listens.then_some(ListenerQueues { syn_queue: None, accept_queue, backlog }),
            ..Sections::default()
        }
    }
}

impl Kept for Dropped {
    fn joined_by(&self, next: &Self) -> Option<Self> {
        (self.reason == next.reason).then_some(*next)
    }
}

impl Describe for Dropped {
    fn text(&self, host: &HostFacts) -> String {
        let name = host.drop_reasons.get(&i32::from(self.reason));
        format!("segment dropped: {}", name.map_or("no reason told", |name| name))
    }
}
