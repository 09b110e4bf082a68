//! What is asked of any signal, and of what a timeline keeps of it. A default is the answer of most signals; one
//! that answers otherwise says so in its own file.

use std::time::Duration;

use agent_common::record::Header;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Sections;
use crate::decode::DecodeError;
use crate::event::{HostFacts, KernelEvent, RetransmitKind, TcpState};

/// How a signal is read, kept and shown.
pub trait Recorded: Signal + Sized {
    /// Its own part of a record; `()` if it has none.
    type Record;
    /// What a timeline keeps of it.
    type Kept: Kept;
    /// How it is marked.
    const MARK: Mark;
    /// Which way it went, where its section does not say.
    const WAY: Way;

    /// Reads it from its part of the record with this header.
    fn decode(raw: Self::Record, header: &Header) -> Result<Self, DecodeError>;

    /// Of its `event`, whose stage is `stage`, what a timeline keeps.
    fn keep(&self, event: &KernelEvent, stage: Option<u32>) -> Self::Kept;
}

/// What the stages ask of any signal. `event` is the one that it is the detail of.
pub trait Signal {
    /// n-th consecutive timeout, from 1; `None` if no timer sent again, or the kernel does not count.
    fn stage(&self, _event: &KernelEvent) -> Option<u32> {
        None
    }

    /// Why a segment was sent again, if one was.
    fn kind(&self) -> Option<RetransmitKind> {
        None
    }

    /// The number of the kernel's reason.
    fn reason(&self) -> Option<Reason> {
        None
    }

    /// Its counters' number, as `count_socket` and `count_segment` have it; `None` if it ends no connection.
    fn counted_as(&self, _event: &KernelEvent) -> Option<u16> {
        None
    }

    /// The socket's state once the kernel is done with what the event reports.
    fn state_after(&self, event: &KernelEvent) -> Option<TcpState> {
        event.state_before()
    }

    /// A listener's own event, such as `listen()`; not asked of half-open connections.
    fn is_of_listener(&self, event: &KernelEvent) -> bool {
        event.endpoint.state == Some(TcpState::Listen)
    }

    /// Whether a connection of which nothing is known yet is worth remembering from this event on.
    /// `is_seen`: its own full socket was there to be read.
    fn is_news(&self, _event: &KernelEvent, is_seen: bool) -> bool {
        is_seen
    }

    /// The task that holds the socket's lock need not be one that has the socket open.
    fn is_by_stranger(&self, _event: &KernelEvent) -> bool {
        false
    }

    /// The end of the connection, or a step of it, is the doing of the task that holds the socket's lock.
    fn is_ended_by_task(&self, _event: &KernelEvent) -> bool {
        false
    }

    /// What its line has beside all others.
    fn sections(&self, _known: &Known<'_>) -> Sections {
        Sections::default()
    }
}

/// What a timeline keeps of a signal. Small: there may be half a million of them.
pub trait Kept: Copy + PartialEq + Serialize + DeserializeOwned + Describe {
    /// One for both, if `next` only continues this.
    fn joined_by(&self, _next: &Self) -> Option<Self> {
        None
    }
}

/// How a report describes an entry of a timeline.
pub trait Describe {
    /// In words, on a host of which `host` is known.
    fn text(&self, host: &HostFacts) -> String;

    /// n-th consecutive timeout, from 1.
    fn stage(&self) -> Option<u8> {
        None
    }

    /// The timeout that burnt, jiffies; of an entry with a stage.
    fn rto(&self) -> Option<u32> {
        None
    }

    /// The state before and after it changed.
    fn states(&self) -> Option<(TcpState, TcpState)> {
        None
    }
}

/// What is known of an event beside its record, for its line.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The event.
    pub event: &'a KernelEvent,
    /// n-th consecutive timeout.
    pub stage: Option<u32>,
    /// Retransmission timeout in force.
    pub rto: Option<Duration>,
    /// The kernel's name of its reason.
    pub reason: Option<&'a str>,
    /// Functions of its kernel stack, innermost first.
    pub stack: &'a [Box<str>],
    /// Whether somebody listens on the local address and port.
    pub listening: Option<bool>,
}

impl Known<'_> {
    /// The kernel's name of its reason, else the number.
    pub fn reason_or(&self, number: u32) -> String {
        self.reason.map_or_else(|| number.to_string(), str::to_owned)
    }
}

/// Number of a reason of the running kernel, which names it in [`HostFacts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `enum sk_rst_reason`
    Reset(i32),
    /// `enum skb_drop_reason`
    Drop(u32),
}

/// How lines and pictures mark a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Something was sent again.
    Repeat,
    /// The connection was reset.
    Reset,
    /// There was no memory, or no room.
    Shortage,
    /// A step of a connection's life.
    Step,
    /// A stall ended well.
    Recovery,
}

/// Which way something went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From this host, or memory for what it sends.
    Out,
    /// To this host, or memory for what it receives.
    In,
    /// Nothing went anywhere.
    Nowhere,
}
