//! A RST was accepted.

use agent_common::record;
use serde::{Deserialize, Serialize};

use super::{Describe, Kept, Mark, Recorded, Signal, Way};
use crate::decode::DecodeError;
use crate::event::{HostFacts, KernelEvent, TcpState};
use crate::words;

/// `tcp_receive_reset`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResetReceived {
    /// The RST's packet; `None` if it was not seen, or if there was none.
    pub arrival: Option<Arrival>,
}

/// How a RST came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// Its time to live, or hop limit.
    pub ttl: u8,
    /// Index of the device that it came in by.
    pub ifindex: Option<u32>,
    /// Time to live, or hop limit, of the oldest data of the peer that was not read yet.
    pub peer_ttl: Option<u8>,
}

/// In a timeline: a RST was accepted, or data came after close (docs/kernel.md, "Resets that were received and resets that were not").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerReset {
    /// State at the event.
    pub state: Option<TcpState>,
    /// The RST's packet, if it was seen.
    pub arrival: Option<Arrival>,
}

impl Recorded for ResetReceived {
    type Record = record::ResetReceived;
    type Kept = PeerReset;
    const MARK: Mark = Mark::Reset;
    const WAY: Way = Way::In;

    fn decode(raw: Self::Record, _: &record::Header) -> Result<Self, DecodeError> {
        let record::ResetReceived { ifindex, ttl, peer_ttl, reserved: _ } = raw;
        let arrival = Arrival {
            ttl,
            ifindex: (ifindex != 0).then_some(ifindex),
            peer_ttl: (peer_ttl != 0).then_some(peer_ttl),
        };
        Ok(Self { arrival: (ttl != 0).then_some(arrival) })
    }

    fn keep(&self, event: &KernelEvent, _: Option<u32>) -> PeerReset {
        PeerReset { state: event.endpoint.state, arrival: self.arrival }
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
        let ttl = self.arrival.map(|arrival| format!(", TTL {}", arrival.ttl)).unwrap_or_default();
        format!("reset received in {}{ttl}", self.state.map_or("no state", words::state))
    }
}
