//! This host sent a RST.

use agent_common::count::REASON_ABSENT;
use agent_common::record::{self, EXITING, NO_REASON, NO_STACK, OOM_VICTIM, OWNED};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::{Describe, Kept, Known, Mark, Reason, Recorded, Sections, Signal, Way};
use crate::decode::DecodeError;
use crate::event::{Exit, HostFacts, KernelEvent, Segment, Tcp, TcpFlags, TcpState};
use crate::words;

/// `tcp_send_reset`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetSent {
    /// Number of the kernel's reason; `None` before 6.10. Named by [`HostFacts::reset_reasons`].
    pub reason: Option<i32>,
    /// Id of the kernel stack, named before by [`Fact::Stack`](crate::event::Fact::Stack).
    pub stack: Option<i32>,
    /// The segment that was answered; `None` if this side acted by itself.
    pub trigger: Option<Segment>,
    /// How the process ends that did it; `None` if it goes on, or did nothing.
    pub exit: Option<Exit>,
}

/// In a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnReset {
    /// Number of the kernel's reason; `None` before 6.10.
    pub reason: Option<u16>,
    /// Id of the kernel stack.
    pub stack: Option<u16>,
    /// On this side's initiative, not in answer to a segment.
    pub active: bool,
    /// State at the event.
    pub state: Option<TcpState>,
    /// How the process ends that did it by ending.
    pub exit: Option<Exit>,
}

/// In a line.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Reset")]
pub struct Section {
    /// `enum sk_rst_reason` of the running kernel, without its prefix; a number if it has no name.
    pub reason: Option<String>,
    /// On this side's initiative, not in answer to a segment.
    pub active: bool,
    /// How the process ends that closed its sockets by ending.
    pub exit: Option<ExitSection>,
    /// Whether somebody listens on the local address and port.
    pub listening: Option<bool>,
    /// Bytes received that the application had not read.
    pub unread_bytes: Option<u32>,
    /// Bytes written that were never sent.
    pub unsent_bytes: Option<u32>,
    /// Bytes sent and not acknowledged.
    pub unacked_bytes: Option<u32>,
    /// Kernel functions that led to it, innermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<Box<str>>,
    /// The segment that it answers.
    pub trigger: Option<Segment>,
}

/// The end of a process, in a line.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Exit")]
pub struct ExitSection {
    /// What it gave to exit(3).
    pub status: Option<u8>,
    /// Name of the signal that ended it, as `SIGKILL`.
    pub signal: Option<String>,
    /// The kernel's OOM killer chose it.
    pub oom: bool,
}

impl Recorded for ResetSent {
    type Record = record::ResetSent;
    type Kept = OwnReset;
    const MARK: Mark = Mark::Reset;
    const WAY: Way = Way::Out;

    fn decode(raw: Self::Record, header: &record::Header) -> Result<Self, DecodeError> {
        let record::ResetSent {
            reason,
            stack,
            active,
            trigger_flags,
            reserved: _,
            trigger_seq: seq,
            trigger_ack: ack,
            trigger_len: len,
            exit,
        } = raw;
        // The running task ends the connection by its own end only if it works on the socket.
        let exits = header.flags & OWNED != 0 && active != 0 && exit & EXITING != 0;
        Ok(Self {
            reason: (reason != NO_REASON).then_some(reason),
            stack: (stack != NO_STACK).then_some(stack),
            trigger: (active == 0).then_some(Segment { flags: TcpFlags(trigger_flags), seq, ack, len }),
            exit: exits.then(|| Exit::new(exit as u16, exit & OOM_VICTIM != 0)),
        })
    }

    fn keep(&self, event: &KernelEvent, _: Option<u32>) -> OwnReset {
        let Self { reason, stack, trigger, exit } = *self;
        OwnReset {
            reason: reason.and_then(|reason| reason.try_into().ok()),
            stack: stack.and_then(|stack| stack.try_into().ok()),
            active: trigger.is_none(),
            state: event.endpoint.state,
            exit,
        }
    }
}

impl Signal for ResetSent {
    fn reason(&self) -> Option<Reason> {
        self.reason.map(Reason::Reset)
    }

    fn counted_as(&self, _event: &KernelEvent) -> Option<u16> {
        Some(self.reason.map_or(REASON_ABSENT, |reason| reason as u16))
    }

    /// close(), linger and disconnect set CLOSE before the reset; `tcp_abort` resets a live state.
    fn is_by_stranger(&self, event: &KernelEvent) -> bool {
        self.trigger.is_none() && event.endpoint.state != Some(TcpState::Close)
    }

    fn is_ended_by_task(&self, _event: &KernelEvent) -> bool {
        self.trigger.is_none()
    }

    fn sections(&self, known: &Known<'_>) -> Sections {
        let tcp = known.event.tcp.as_ref();
        let section = Section {
            reason: known.reason.map(str::to_owned).or_else(|| self.reason.map(|number| number.to_string())),
            active: self.trigger.is_none(),
            exit: self.exit.map(ExitSection::from),
            listening: known.listening,
            unread_bytes: tcp.map(Tcp::unread_bytes),
            unsent_bytes: tcp.map(Tcp::unsent_bytes),
            unacked_bytes: tcp.map(Tcp::unacked_bytes),
            stack: known.stack.to_vec(),
            trigger: self.trigger,
        };
        Sections { reset: Some(section), ..Sections::default() }
    }
}

impl From<Exit> for ExitSection {
    fn from(exit: Exit) -> Self {
        Self { status: exit.status(), signal: exit.signal().map(words::signal), oom: exit.oom }
    }
}

impl Kept for OwnReset {}

impl Describe for OwnReset {
    fn text(&self, host: &HostFacts) -> String {
        let name = self.reason.and_then(|reason| host.reset_reasons.get(&i32::from(reason)));
        let side = if self.active { "" } else { " in answer" };
        let state = self.state.map_or("no socket", words::state);
        let name = name.map_or("no reason told", |name| name);
        let exit = self.exit.map(|exit| format!(", process {}", words::ended(exit)));
        format!("reset sent{side} in {state}: {name}{}", exit.unwrap_or_default())
    }
}
