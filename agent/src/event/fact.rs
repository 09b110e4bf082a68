//! Facts about the host: what live code learns from the kernel and /proc, and a replay from its recording.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A fact about the host, told when it is learnt or changes. Not internally tagged: serde then cannot
/// read back the integer keys of [`HostFacts::reset_reasons`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// First of all: what does not change while the agent runs.
    Host(HostFacts),
    /// Wall clock minus monotonic clock, ns; told again when it is set.
    Clock {
        /// `CLOCK_REALTIME - CLOCK_MONOTONIC`.
        offset: i64,
    },
    /// Functions of a kernel stack, innermost first.
    Stack {
        /// As in [`Detail::ResetSent`](super::Detail::ResetSent).
        id: i32,
        /// Names without offsets; hexadecimal addresses where symbols can't be read.
        frames: Vec<Box<str>>,
    },
    /// A walk over all open files ended: whoever it did not name holds nothing.
    WalkDone {
        /// When it ended, ns of `CLOCK_MONOTONIC`.
        time: u64,
    },
    /// Records were lost in the ring since the last such fact.
    Lost {
        /// Signal word.
        signal: Box<str>,
        /// How many.
        count: u64,
    },
}

/// What does not change while the agent runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Timer interrupts a second: the unit of jiffies.
    pub hz: u32,
    /// `uname -r`.
    pub release: Box<str>,
    /// Names of `enum sk_rst_reason` without the prefix `SK_RST_REASON_`; empty before 6.10.
    pub reset_reasons: BTreeMap<i32, Box<str>>,
    /// Bytes of a page.
    pub page_size: u32,
}
