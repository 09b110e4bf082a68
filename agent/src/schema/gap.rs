//! Lines in place of events that have none of their own.

use agent_common::count::FAILED;
use agent_common::signal::{By, Probe};
use agent_model::event::{Fact, HostFacts};
use agent_model::schema::VERSION;
use agent_model::words;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// Events of a storm that were coalesced, or records that the ring had no room for.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gap {
    /// Version of the schema.
    pub v: u32,
    /// Which of both.
    pub event: GapWord,
    /// What the events were: one of the words of `event`.
    pub signal: String,
    /// How many.
    pub count: u64,
    /// Inode of their network namespace.
    pub netns: Option<u32>,
    /// cgroup v2 id of their sockets.
    pub cgroup: Option<u64>,
    /// Local port; the peer's of a connect() in progress.
    pub port: Option<u16>,
    /// Kind of a retransmission, reason of a reset, or TCP state.
    pub detail: Option<String>,
}

/// What became of the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GapWord {
    /// The ring had no room. The next event of the same source stands for them too.
    Lost,
    /// The last of a storm, which no event stands for.
    Coalesced,
}

impl Gap {
    /// What a fact says of events without a line; `None` if nothing.
    pub fn of(fact: &Fact, host: &HostFacts) -> Option<Self> {
        match fact {
            Fact::Lost { signal, count } => Some(Self::new(GapWord::Lost, signal, *count)),
            Fact::Coalesced { signal, detail, cgroup, netns, port, count } => Some(Self {
                netns: Some(*netns).filter(|&netns| netns != 0),
                cgroup: Some(*cgroup).filter(|&cgroup| cgroup != 0),
                port: Some(*port).filter(|&port| port != 0),
                detail: detail_word(signal, *detail, host),
                ..Self::new(GapWord::Coalesced, signal, *count)
            }),
            Fact::Host(_)
            | Fact::Clock { .. }
            | Fact::Stack { .. }
            | Fact::WalkDone { .. }
            | Fact::Processes { .. }
            | Fact::Limits(_)
            | Fact::Settle { .. }
            | Fact::Usage(_)
            | Fact::TcpMemory(_)
            | Fact::CgroupMemory(_)
            | Fact::Settings(_)
            | Fact::Cgroup { .. }
            | Fact::CgroupGone { .. }
            | Fact::Pod(_)
            | Fact::PodGone { .. }
            | Fact::Counts { .. } => None,
        }
    }

    fn new(event: GapWord, signal: &str, count: u64) -> Self {
        let signal = signal.to_owned();
        Self { v: VERSION, event, signal, count, netns: None, cgroup: None, port: None, detail: None }
    }
}

fn detail_word(signal: &str, detail: u16, host: &HostFacts) -> Option<String> {
    match Probe::named(signal)?.by {
        By::Kind => Some(words::kind_number(detail & !FAILED).to_owned()),
        By::Reason => host.reset_reasons.get(&i32::from(detail)).map(ToString::to_string),
        By::State => words::STATES.get(usize::from(detail)).map(|word| (*word).to_owned()),
        By::Direction | By::DropReason | By::Nothing => None,
    }
}
