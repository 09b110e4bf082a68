//! The post-mortem of one connection: what `GET /v1/why` answers.

use std::pin::Pin;
use std::time::Duration;

use agent_advise::Gathered;
use agent_correlate::connection::Connection;
use agent_correlate::holders;
use agent_correlate::identity::Identity;
use agent_correlate::query::Selector;
use agent_correlate::timeline::{Entry, What};
use agent_correlate::{Correlator, HalfOpen};
use agent_diagnose::families::Listing;
use agent_diagnose::tracker::Tracker;
use agent_diagnose::{Diagnosed, Phase, Story, diagnose, diagnose_past};
use agent_model::event::{Process, TcpState};
use agent_model::schema::{End, VERSION};
use agent_model::signals::Mark;
use agent_model::words::{self, EventWord};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::top::Overview;
use crate::schema::{Diagnosis, Outlook, Owner, PlaceNames};

mod query;
pub mod svg;
mod timeline;

pub use self::query::{Wanted, WhyError};

/// Who answers.
pub trait Answers: Send + Sync {
    /// Walks over open files, unless the last walk is younger than `age`.
    fn walk(&self, age: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
    /// The families that the last walk found.
    fn families(&self) -> Listing;
    /// What advice is computed from.
    fn gathered(&self) -> Gathered;
    /// Has the next walk take in healthy connections that are wanted.
    fn seek(&self, wanted: &Wanted);
    /// The story of the connection that is wanted, the one with the last event if there are several.
    fn why(&self, wanted: &Wanted) -> Option<WhyReport>;
    /// All that is remembered, in short.
    fn overview(&self) -> Overview;
}

/// One connection's post-mortem.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WhyReport {
    /// Version of the schema.
    pub v: u32,
    /// Connections that meet the conditions, this one included.
    pub matches: usize,
    /// Names the connection for the host's uptime, hexadecimal.
    pub connection: String,
    /// What both of its hosts call it, hexadecimal.
    pub shared_id: Option<String>,
    /// Inode of the network namespace.
    pub netns: u32,
    /// cgroup v2 id.
    pub cgroup: Option<u64>,
    /// Where the socket lives, or lived.
    pub place: Option<PlaceNames>,
    /// This host's side.
    pub local: End,
    /// The peer.
    pub remote: End,
    /// Newest state.
    pub state: Option<TcpState>,
    /// It lives.
    pub alive: bool,
    /// errno that the application got.
    pub error: Option<String>,
    /// The socket's process.
    pub process: Option<Owner>,
    /// The process that ended it.
    pub ended_by: Option<Process>,
    /// Processes that have it open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<Holder>,
    /// Further open files that name no process.
    pub more_holders: Option<u32>,
    /// Who listens where it was accepted, if all who hold the connection are its children and it is none of them: they
    /// were given the connection, or inherited it.
    pub parent: Option<Process>,
    /// The other end, if it lives on this host.
    pub peer: Option<String>,
    /// Processes that have the other end open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peer_holders: Vec<Holder>,
    /// What happened.
    pub timeline: Vec<Happening>,
    /// Events left out after the first ones.
    pub left_out: Option<u32>,
    /// Of a half-open connection: what comes if its client stays silent.
    pub outlook: Option<Outlook>,
    /// Why; absent if nothing is wrong.
    pub diagnosis: Option<Diagnosis>,
}

/// A process that has the socket open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// Who.
    #[serde(flatten)]
    pub process: Process,
    /// Its parent's process id.
    pub parent: u32,
    /// Its file descriptor.
    pub fd: u32,
}

/// An entry of the timeline.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Happening {
    /// Wall clock at the (first) event.
    #[serde(with = "crate::schema::nanos")]
    #[schemars(with = "Timestamp")]
    pub time: Timestamp,
    /// Time since the first entry, ms.
    pub after_ms: u64,
    /// Events.
    pub count: u32,
    /// What sort of event.
    pub event: HappeningKind,
    /// What, in words.
    pub text: String,
    /// The state before and after it changed.
    pub states: Option<(TcpState, TcpState)>,
    /// n-th consecutive timeout.
    pub stage: Option<u32>,
    /// The timeout that burnt.
    pub rto_ms: Option<u64>,
    /// Bytes sent and not acknowledged.
    pub unacked_bytes: u32,
    /// Bytes written and not sent.
    pub unsent_bytes: u32,
    /// Bytes received and not read.
    pub unread_bytes: u32,
    /// Window that the peer offered, bytes; 0 is a shut one.
    pub window_bytes: Option<u32>,
}

macro_rules! kinds {
    (
        events { $($(#[$doc:meta])* $NUMBER:ident $word:ident $Variant:ident { $($column:tt)* })* }
        $($others:tt)*
    ) => {
        /// What sort of event an entry of the timeline is: the words of the stream, and `recovered`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum HappeningKind {
            $($(#[$doc])* $Variant,)*
            /// A stall ended well.
            Recovered,
        }

        impl HappeningKind {
            /// How pictures mark it.
            pub fn mark(self) -> Mark {
                match self {
                    $(Self::$Variant => EventWord::$Variant.mark(),)*
                    Self::Recovered => Mark::Recovery,
                }
            }
        }

        impl From<What> for HappeningKind {
            fn from(what: What) -> Self {
                match what {
                    $(What::$Variant(_) => Self::$Variant,)*
                    What::Recovered(_) => Self::Recovered,
                }
            }
        }
    };
}

agent_common::signals! { kinds }

/// The post-mortem of the connection that meets all conditions.
pub fn report(correlator: &Correlator, tracker: &Tracker, wanted: &Wanted) -> Option<WhyReport> {
    let Wanted { conditions, place } = wanted;
    let found = if *wanted == Wanted::default() {
        correlator.last().into_iter().collect()
    } else {
        let mut found = correlator.select(conditions);
        found.retain(|connection| place.matches(&correlator.place(connection)));
        found.sort_by_key(|connection| bystander(connection, conditions));
        found
    };
    let connection = *found.first()?;
    Some(WhyReport {
        matches: found.len(),
        diagnosis: judge(correlator, tracker, connection),
        ..plain(correlator, connection)
    })
}

/// A connection that had trouble comes before one that is here because somebody asked; of both ends of a healthy one
/// that whose own address was asked for.
fn bystander(connection: &Connection, conditions: &[Selector]) -> u8 {
    if connection.timeline.last().is_some() || connection.is_stalled() || !connection.is_live() {
        return 0;
    }
    let local = connection.identity.local();
    let is_its = |one: &Selector| match one {
        Selector::End(end) => Some(*end == local),
        Selector::Address(address) => Some(*address == local.ip()),
        Selector::Port(_)
        | Selector::Id(_)
        | Selector::Shared(_)
        | Selector::Netns(_)
        | Selector::Pid(_)
        | Selector::Comm(_) => None,
    };
    if conditions.iter().find_map(is_its).unwrap_or(true) { 1 } else { 2 }
}

/// As it stands now; a stall with what comes.
pub(crate) fn judge(
    correlator: &Correlator,
    tracker: &Tracker,
    connection: &Connection,
) -> Option<Diagnosis> {
    if let Some(HalfOpen { observed, .. }) = correlator.half_open(connection.id) {
        let diagnosed =
            Diagnosed::new(correlator, diagnose(&Story::of_stray(correlator, observed))?, Some(observed))?;
        return Some(Diagnosis::new(&diagnosed));
    }
    let phase = match (connection.is_live(), connection.is_stalled()) {
        (false, _) => Phase::Died,
        (true, true) => Phase::Stalled,
        (true, false) => Phase::Recovered,
    };
    let sight = tracker.sight(connection.id).filter(|_| phase == Phase::Stalled);
    let mut story = Story::of(correlator, connection, phase);
    if let Some(sight) = sight {
        story = story.at(sight);
    } else if let Some(walked) = correlator.families().time().filter(|time| *time > connection.last)
        && connection.is_live()
    {
        (story.time, story.looked) = (walked, true);
    }
    let found = diagnose(&story).or_else(|| past(correlator, connection))?;
    Some(Diagnosis::new(&Diagnosed::new(correlator, found, None)?))
}

/// What it suffered from while it lived is still said after it closed in order.
fn past(correlator: &Correlator, connection: &Connection) -> Option<agent_diagnose::Diagnosis> {
    let ended = !connection.is_live() && connection.error == 0;
    ended.then(|| diagnose_past(&Story::of(correlator, connection, Phase::Recovered)))?
}

fn plain(correlator: &Correlator, connection: &Connection) -> WhyReport {
    let identity = &connection.identity;
    let peer = correlator.other_end(connection);
    let error = (connection.error != 0).then(|| words::errno(connection.error));
    WhyReport {
        v: VERSION,
        matches: 1,
        connection: connection.id.to_string(),
        shared_id: connection.initials.map(|initials| initials.id().to_string()),
        netns: identity.netns,
        cgroup: identity.cgroup.map(Into::into),
        place: PlaceNames::new(&correlator.place(connection)),
        local: identity.local().into(),
        remote: identity.remote().into(),
        state: connection.state,
        alive: connection.is_live(),
        error,
        process: connection.owner.as_deref().map(Owner::from),
        ended_by: connection.ended_by.as_deref().cloned(),
        holders: holders(connection),
        more_holders: Some(connection.holders.more()).filter(|more| *more > 0),
        parent: parent(correlator, connection),
        peer: peer.map(|peer| peer.id.to_string()),
        peer_holders: peer.map(holders).unwrap_or_default(),
        timeline: happenings(correlator, &connection.timeline.entries()),
        left_out: Some(connection.timeline.dropped()).filter(|events| *events > 0),
        outlook: correlator.half_open(connection.id).and_then(waits),
        diagnosis: None,
    }
}

fn waits(half_open: &HalfOpen) -> Option<Outlook> {
    let HalfOpen { observed, .. } = half_open;
    let offset = observed.realtime.wrapping_sub(observed.event.time.cast_signed());
    Some(Outlook::new(&observed.outlook?, offset))
}

/// Of a connection that its listener's children alone hold.
fn parent(correlator: &Correlator, connection: &Connection) -> Option<Process> {
    let Identity { netns, .. } = connection.identity;
    let listener = correlator.listener(netns, connection.identity.local())?;
    let parent = &listener.owner.as_ref()?.process;
    let holders = connection.holders.named();
    let inherited =
        |holder: &holders::Holder| holder.parent == parent.pid && holder.process.pid != parent.pid;
    (!holders.is_empty() && connection.is_live() && holders.iter().all(inherited)).then(|| parent.clone())
}

fn holders(connection: &Connection) -> Vec<Holder> {
    let named = connection.holders.named().iter();
    named.map(|one| Holder { process: one.process.clone(), parent: one.parent, fd: one.fd }).collect()
}

fn happenings(correlator: &Correlator, entries: &[Entry]) -> Vec<Happening> {
    let first = entries.first().map_or(0, |entry| entry.time);
    entries.iter().map(|entry| timeline::happening(correlator, entry, first)).collect()
}
