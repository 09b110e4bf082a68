//! A RST was accepted.

use agent_common::record;
use serde::{Deserialize, Serialize};

use super::{Describe, Kept, Mark, Recorded, Signal, Way};
use crate::decode::DecodeError;
use crate::event::{HostFacts, KernelEvent, TcpState};
use crate::words;

/// `tcp_receive_reset`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetReceived;

/// In a timeline: a RST was accepted, or data came after close (docs/kernel.md, "Resets that were received and resets that were not").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerReset {
    /// State at the event.
    pub state: Option<TcpState>,
}

impl Recorded for ResetReceived {
    type Record = ();
    type Kept = PeerReset;
    const MARK: Mark = Mark::Reset;
    const WAY: Way = Way::In;

    fn decode((): (), _: &record::Header) -> Result<Self, DecodeError> {
        Ok(Self)
    }

    fn keep(&self, event: &KernelEvent, _: Option<u32>) -> PeerReset {
        PeerReset { state: event.endpoint.state }
    }
}

impl Signal for ResetReceived {
    fn counted_as(&self, event: &KernelEvent) -> Option<u16> {
        event.endpoint.state.map(|state| state as u16)
    }

    /// `tcp_reset` closes the socket right after, which is not reported once more.
    fn state_after(&self, _event: &KernelEvent) -> Option<TcpState> {
        Some(TcpState::Close)
    }

    /// Of a refused connect() the kernel side records only whose it was.
    fn is_news(&self, _event: &KernelEvent, _is_seen: bool) -> bool {
        true
    }
}

impl Kept for PeerReset {}

impl Describe for PeerReset {
    fn text(&self, _host: &HostFacts) -> String {
        format!("reset received in {}", self.state.map_or("no state", words::state))
    }
}
