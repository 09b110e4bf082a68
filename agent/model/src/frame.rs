//! The unit of the stream before it is decoded, and of a recording.

use std::mem::offset_of;

use agent_common::record::{Endpoint, Record};
use bytes::Bytes;

use crate::event::Fact;

/// One undecoded step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// An `agent_common::record::Record` or `TcpRecord`, as the kernel side wrote it.
    Record(Bytes),
    /// A [`Fact`], as JSON.
    Fact(Bytes),
}

impl Frame {
    /// Encodes a fact.
    pub fn fact(fact: &Fact) -> Self {
        Self::Fact(serde_json::to_vec(fact).expect("a fact has only string keys").into())
    }

    /// Inode of the network namespace of a record, or of what was coalesced; `None` of other facts, or where
    /// the record is too short.
    pub fn netns(&self) -> Option<u32> {
        let bytes = match self {
            Self::Record(bytes) => bytes,
            Self::Fact(json) => return coalesced_netns(json),
        };
        let at = offset_of!(Record, endpoint) + offset_of!(Endpoint, netns);
        Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    }

    /// What it is made of.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Record(bytes) | Self::Fact(bytes) => bytes,
        }
    }
}

/// Facts are named by what they start with; most are not looked at further.
fn coalesced_netns(json: &[u8]) -> Option<u32> {
    if !json.starts_with(b"{\"coalesced\"") {
        return None;
    }
    match serde_json::from_slice(json) {
        Ok(Fact::Coalesced { netns, .. }) => Some(netns),
        Ok(_) | Err(_) => None,
    }
}
