//! A SYN-ACK of a half-open connection was sent again.

use agent_common::record;
use serde::{Deserialize, Serialize};

use super::retransmit::{self, narrow_stage};
use super::{Describe, Kept, Known, ListenerQueues, Mark, Recorded, Sections, Signal, Way};
use crate::decode::DecodeError;
use crate::event::{HostFacts, KernelEvent, RetransmitKind};

/// `tcp_retransmit_synack`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynackRetransmit {
    /// Retransmissions before this one.
    pub retransmits: u8,
    /// Timer expiries before this one.
    pub timeouts: u8,
    /// The client's repeated SYN asked for it, not the timer.
    pub duplicate_syn: bool,
    /// Half-open connections of the listener.
    pub syn_queue: u32,
    /// Connections waiting for accept.
    pub accept_queue: u32,
    /// Limit of the accept queue.
    pub backlog: u32,
}

/// In a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SynackResend {
    /// n-th, from 1.
    pub stage: u8,
    /// Connections waiting for accept.
    pub accept_queue: u32,
    /// Limit of the accept queue.
    pub backlog: u32,
}

impl Recorded for SynackRetransmit {
    type Record = record::SynackRetransmit;
    type Kept = SynackResend;
    const MARK: Mark = Mark::Repeat;
    const WAY: Way = Way::Out;

    fn decode(raw: Self::Record, _: &record::Header) -> Result<Self, DecodeError> {
        let record::SynackRetransmit {
            retransmits,
            timeouts,
            duplicate_syn,
            reserved: _,
            syn_queue,
            accept_queue,
            backlog,
        } = raw;
        let duplicate_syn = duplicate_syn != 0;
        Ok(Self { retransmits, timeouts, duplicate_syn, syn_queue, accept_queue, backlog })
    }

    fn keep(&self, _: &KernelEvent, stage: Option<u32>) -> SynackResend {
        let Self { accept_queue, backlog, .. } = *self;
        SynackResend { stage: narrow_stage(stage), accept_queue, backlog }
    }
}

impl Signal for SynackRetransmit {
    /// `num_retrans` is raised only afterwards.
    fn stage(&self, _event: &KernelEvent) -> Option<u32> {
        Some(u32::from(self.retransmits) + 1)
    }

    fn kind(&self) -> Option<RetransmitKind> {
        Some(RetransmitKind::Synack)
    }

    /// The tracepoint fires only once a SYN-ACK was sent, and shows nothing of the segment.
    fn sections(&self, known: &Known<'_>) -> Sections {
        let Self { syn_queue, accept_queue, backlog, .. } = *self;
        Sections {
            retransmit: Some(retransmit::Section::of(RetransmitKind::Synack, known)),
            listener: Some(ListenerQueues { syn_queue: Some(syn_queue), accept_queue, backlog }),
            ..Sections::default()
        }
    }
}

impl Kept for SynackResend {}

impl Describe for SynackResend {
    fn text(&self, _host: &HostFacts) -> String {
        format!("SYN-ACK again, accept queue {} of {}", self.accept_queue, self.backlog)
    }

    fn stage(&self) -> Option<u8> {
        Some(self.stage)
    }
}
