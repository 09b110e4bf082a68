//! The unit of the stream before it is decoded, and of a recording.

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

    /// What it is made of.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Record(bytes) | Self::Fact(bytes) => bytes,
        }
    }
}
