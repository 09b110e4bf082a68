//! A TCP socket is about to change state.

use agent_common::record;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::{Describe, Kept, Known, ListenerQueues, Mark, Recorded, Sections, Signal, Way, errno};
use crate::decode::{DecodeError, state};
use crate::event::{ECONNABORTED, HostFacts, KernelEvent, TcpState};
use crate::words;

/// `inet_sock_set_state`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateChanged {
    /// Before.
    pub old: TcpState,
    /// After.
    pub new: TcpState,
    /// Connections waiting for accept, of a listener.
    pub accept_queue: u32,
    /// Limit of the accept queue, of a listener.
    pub backlog: u32,
}

/// In a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Before.
    pub old: TcpState,
    /// After.
    pub new: TcpState,
    /// `sk_err`: errno that the application will see; 0 none.
    pub err: i16,
}

/// In a line.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StateChange")]
pub struct Section {
    /// Before.
    pub old: TcpState,
    /// After.
    pub new: TcpState,
    /// errno that the application will see.
    pub error: Option<String>,
}

impl Recorded for StateChanged {
    type Record = record::StateChanged;
    type Kept = Step;
    const MARK: Mark = Mark::Step;
    const WAY: Way = Way::Nowhere;

    fn decode(raw: Self::Record, _: &record::Header) -> Result<Self, DecodeError> {
        let record::StateChanged { old, new, accept_queue, backlog } = raw;
        Ok(Self { old: state(old)?, new: state(new)?, accept_queue, backlog })
    }

    fn keep(&self, event: &KernelEvent, _: Option<u32>) -> Step {
        Step { old: self.old, new: self.new, err: errno(event.errno()) }
    }
}

impl StateChanged {
    /// A listener's, of which the queues mean something.
    fn listens(&self) -> bool {
        self.old == TcpState::Listen || self.new == TcpState::Listen
    }
}

impl Signal for StateChanged {
    fn counted_as(&self, _event: &KernelEvent) -> Option<u16> {
        Some(self.new as u16)
    }

    fn state_after(&self, _event: &KernelEvent) -> Option<TcpState> {
        Some(self.new)
    }

    fn is_of_listener(&self, event: &KernelEvent) -> bool {
        self.new == TcpState::Listen || event.endpoint.state == Some(TcpState::Listen)
    }

    fn is_by_stranger(&self, event: &KernelEvent) -> bool {
        self.new == TcpState::Close && event.errno() == ECONNABORTED
    }

    /// Who merely processes the peer's reset from the backlog leaves another error than these.
    fn is_ended_by_task(&self, event: &KernelEvent) -> bool {
        match self.new {
            TcpState::FinWait1 | TcpState::LastAck => true,
            TcpState::Close => [0, ECONNABORTED].contains(&event.errno()),
            TcpState::Established
            | TcpState::SynSent
            | TcpState::SynRecv
            | TcpState::FinWait2
            | TcpState::TimeWait
            | TcpState::CloseWait
            | TcpState::Listen
            | TcpState::Closing
            | TcpState::NewSynRecv => false,
        }
    }

    fn sections(&self, known: &Known<'_>) -> Sections {
        let Self { old, new, accept_queue, backlog } = *self;
        let error = Some(known.event.errno()).filter(|&errno| errno != 0).map(words::errno);
        Sections {
            state_change: Some(Section { old, new, error }),
            listener: self.listens().then_some(ListenerQueues { syn_queue: None, accept_queue, backlog }),
            ..Sections::default()
        }
    }
}

impl Kept for Step {}

impl Describe for Step {
    fn text(&self, _host: &HostFacts) -> String {
        let Self { old, new, err } = *self;
        let error = if err == 0 { String::new() } else { format!(" with {}", words::errno(err.into())) };
        format!("{} > {}{error}", words::state(old), words::state(new))
    }

    fn states(&self) -> Option<(TcpState, TcpState)> {
        Some((self.old, self.new))
    }
}
