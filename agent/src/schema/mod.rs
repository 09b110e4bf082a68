//! Lines for programs: newline-delimited JSON, schema version 1. `docs/schema.md` describes every field.
//!
//! A field that the kernel does not have, or that the event cannot have, is left out: never 0 or null.
//! New fields may come without a new version; a field never changes its meaning or its unit within one.

mod build;
mod diagnosis;
#[cfg(test)]
pub(crate) mod file;
pub mod flow;
mod gap;
mod head;
mod json;
mod place;
#[cfg(test)]
pub(crate) mod sample;
mod tcp;

use std::borrow::Cow;

use agent_model::event::{OwnerSource, TcpState};
use agent_model::schema::{End, VERSION};
use agent_model::signals::Sections;
use agent_model::words::EventWord;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

pub(crate) use self::diagnosis::timestamp;
pub use self::diagnosis::{Deadline, Diagnosis, DiagnosisWord, Outlook};
pub use self::gap::{Gap, GapWord};
pub(crate) use self::json::nanos;
pub use self::place::PlaceNames;
pub use self::tcp::{Settings, Tcp, Totals};

/// What one line of the stream may be.
#[derive(Clone, Debug, PartialEq, JsonSchema)]
#[schemars(untagged)]
pub enum Item {
    /// An event.
    Event(Box<Line>),
    /// Why a connection stalled or died.
    Diagnosis(Box<Diagnosis>),
    /// What this reader was too slow for.
    Missed(Missed),
    /// Events that have no line of their own.
    Gap(Box<Gap>),
}

/// A line about an event.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// Version of the schema.
    pub v: u32,
    /// Wall clock at the event, UTC, nanoseconds.
    #[serde(with = "json::nanos")]
    #[schemars(with = "Timestamp")]
    pub time: Timestamp,
    /// `CLOCK_MONOTONIC` at the event.
    pub monotonic_ns: u64,
    /// What happened.
    pub event: EventWord,
    /// How many events of the kind this line stands for, at least 1.
    pub stands_for: u32,
    /// Names the connection for the host's uptime, hexadecimal.
    pub connection: Option<String>,
    /// Inode of the network namespace (`readlink /proc/PID/ns/net`).
    pub netns: u32,
    /// cgroup v2 id: the inode of the socket's directory under `/sys/fs/cgroup`.
    pub cgroup: Option<u64>,
    /// Where the socket lives.
    pub place: Option<PlaceNames>,
    /// Family of the addresses; an IPv6 socket that talks IPv4 is `ipv4`.
    pub family: IpVersion,
    /// IP protocol number where it is not TCP's 6.
    pub protocol: Option<u8>,
    /// This host's side.
    pub local: End,
    /// The peer.
    pub remote: End,
    /// State at the event (before it, for a change of state).
    pub state: Option<TcpState>,
    /// User id that owns the socket.
    pub uid: Option<u32>,
    /// The socket's process.
    pub process: Option<Owner>,
    /// The thread that worked on the socket at the event.
    pub current: Option<Thread>,
    /// What only its signal has.
    #[serde(flatten)]
    pub sections: Sections,
    /// Of `synack_retransmit`, where its listener is known.
    pub outlook: Option<Outlook>,
    /// What a full TCP socket knew at the event.
    pub tcp: Option<Box<Tcp>>,
    /// Settings of its network namespace.
    pub settings: Option<Settings>,
    /// What was counted of the connection, this event included.
    pub totals: Option<Totals>,
}

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IpVersion {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// A process and how it was learnt that the socket is its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Owner {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Name.
    pub comm: String,
    /// How it was learnt.
    pub source: OwnerSource,
}

/// A running thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Thread {
    /// Its process.
    pub pid: u32,
    /// Its own id.
    pub tid: u32,
    /// Name of the process.
    pub comm: String,
}

/// A line in place of those that this reader was too slow for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Missed {
    /// Version of the schema.
    pub v: u32,
    /// Always `missed`.
    pub event: MissedWord,
    /// Events missed.
    pub count: u64,
}

/// The one word of [`Missed::event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MissedWord {
    /// `missed`
    Missed,
}

/// A line cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Not JSON, or not the schema's.
    #[error("read a line of the event stream")]
    Json(#[from] serde_json::Error),
    /// From another program version.
    #[error("the event stream has schema version {0}, this program reads {VERSION}")]
    Version(u32),
}

/// What decides how the rest of a line is read.
#[derive(Deserialize)]
struct Head<'a> {
    v: u32,
    #[serde(borrow)]
    event: Cow<'a, str>,
}

impl Item {
    /// Tells a reader what it missed.
    pub fn missed(count: u64) -> Self {
        Self::Missed(Missed { v: VERSION, event: MissedWord::Missed, count })
    }

    /// Reads one line. Its head is among the first fields; only a line that cannot be read is read twice, for
    /// what is wrong with it as a whole.
    pub fn parse(line: &[u8]) -> Result<Self, LineError> {
        let read = head::first_fields(line).and_then(|head| Self::read(&head, line).ok());
        read.map_or_else(|| Self::read(&serde_json::from_slice(line)?, line), Ok)
    }

    fn read(head: &Head, line: &[u8]) -> Result<Self, LineError> {
        match (head.v, &*head.event) {
            (VERSION, "missed") => Ok(Self::Missed(serde_json::from_slice(line)?)),
            (VERSION, "lost" | "coalesced") => Ok(Self::Gap(serde_json::from_slice(line)?)),
            (VERSION, "diagnosis") => Ok(Self::Diagnosis(serde_json::from_slice(line)?)),
            (VERSION, _) => Ok(Self::Event(serde_json::from_slice(line)?)),
            (other, _) => Err(LineError::Version(other)),
        }
    }

    /// One line of JSON with its newline.
    pub fn to_json(&self) -> String {
        match self {
            Self::Event(line) => json::line(line.as_ref()),
            Self::Diagnosis(diagnosis) => json::line(diagnosis.as_ref()),
            Self::Missed(missed) => json::line(missed),
            Self::Gap(gap) => json::line(gap.as_ref()),
        }
    }
}

/// Any value as one line of JSON, with what a terminal would obey escaped.
pub(crate) fn json_line(value: &impl Serialize) -> String {
    json::line(value)
}

impl From<Line> for Item {
    fn from(line: Line) -> Self {
        Self::Event(Box::new(line))
    }
}

impl From<Diagnosis> for Item {
    fn from(diagnosis: Diagnosis) -> Self {
        Self::Diagnosis(Box::new(diagnosis))
    }
}

impl From<Gap> for Item {
    fn from(gap: Gap) -> Self {
        Self::Gap(Box::new(gap))
    }
}

#[cfg(test)]
mod tests;
