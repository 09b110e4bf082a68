//! A TCP socket ends; its address may be used again at once.

use agent_common::record::{self, Totals};
use serde::{Deserialize, Serialize};

use super::{Describe, Kept, Mark, Recorded, Signal, Way};
use crate::decode::DecodeError;
use crate::event::{HostFacts, KernelEvent};

/// `tcp_destroy_sock`; also in a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SockDestroyed;

impl Recorded for SockDestroyed {
    type Record = ();
    type Kept = Self;
    const MARK: Mark = Mark::Step;
    const WAY: Way = Way::Nowhere;

    fn decode((): (), _: &record::Header) -> Result<Self, DecodeError> {
        Ok(Self)
    }

    fn keep(&self, _: &KernelEvent, _: Option<u32>) -> Self {
        *self
    }
}

impl Signal for SockDestroyed {
    /// The end of a socket whose trouble was all before the agent's time is none; if it was in its time, records
    /// were lost, and this is the last chance to report it.
    fn is_news(&self, event: &KernelEvent, is_seen: bool) -> bool {
        let totals = event.tcp.as_ref().map(|tcp| tcp.totals);
        is_seen && totals.is_some_and(|totals| totals != Totals::default())
    }

    /// Whoever holds the last reference buries it.
    fn is_by_stranger(&self, _event: &KernelEvent) -> bool {
        true
    }
}

impl Kept for SockDestroyed {}

impl Describe for SockDestroyed {
    fn text(&self, _host: &HostFacts) -> String {
        "socket gone".to_owned()
    }
}
