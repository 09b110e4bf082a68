//! The unit of the stream before it is decoded, and of a recording.

use std::borrow::Cow;
use std::mem::offset_of;

use agent_common::record::{Endpoint, Record};
use bytes::Bytes;

use crate::event::Fact;

/// One undecoded step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// An `agent_common::record::Record` or `TcpRecord`, as the kernel side wrote it.
    Record(Bytes),
    /// A fact. Boxed: records are the many.
    Fact(Box<Fact>),
    /// What a recording has in a fact's place, and [`Self::from_json`] could not read.
    Malformed(Bytes),
}

impl Frame {
    /// Of a fact.
    pub fn fact(fact: Fact) -> Self {
        Self::Fact(Box::new(fact))
    }

    /// Reads a fact of a recording. What is none is kept as it is: decoding says what is wrong with it.
    pub fn from_json(json: Bytes) -> Self {
        serde_json::from_slice(&json).map_or_else(|_| Self::Malformed(json), Self::Fact)
    }

    /// As a recording has it: a record as it is, a fact as JSON.
    pub fn recorded(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Record(bytes) | Self::Malformed(bytes) => Cow::Borrowed(bytes),
            Self::Fact(fact) => Cow::Owned(serde_json::to_vec(fact).expect("a fact has only string keys")),
        }
    }

    /// Inode of the network namespace of a record, or of what was coalesced; `None` of other facts, or where
    /// the record is too short.
    pub fn netns(&self) -> Option<u32> {
        match self {
            Self::Record(bytes) => record_netns(bytes),
            Self::Fact(fact) => coalesced_netns(fact),
            Self::Malformed(_) => None,
        }
    }
}

fn record_netns(bytes: &[u8]) -> Option<u32> {
    let at = offset_of!(Record, endpoint) + offset_of!(Endpoint, netns);
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn coalesced_netns(fact: &Fact) -> Option<u32> {
    if let Fact::Coalesced { netns, .. } = fact { Some(*netns) } else { None }
}
