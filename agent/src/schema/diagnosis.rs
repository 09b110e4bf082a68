//! A line about a diagnosis.

use agent_diagnose::{Diagnosed, Evidence, Phase};
use agent_model::cause::Cause;
use agent_model::event::Process;
use agent_model::schema::{End, VERSION};
use agent_model::timers;
use agent_model::timers::{Rule, Timer};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::{Owner, PlaceNames, json};

/// Why a connection stalled or died.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Diagnosis {
    /// Version of the schema.
    pub v: u32,
    /// Wall clock at the death, the timeout or the recovery, UTC, nanoseconds.
    #[serde(with = "json::nanos")]
    #[schemars(with = "Timestamp")]
    pub time: Timestamp,
    /// `CLOCK_MONOTONIC` then.
    pub monotonic_ns: u64,
    /// Always `diagnosis`.
    pub event: DiagnosisWord,
    /// How many connections it stands for, at least 1.
    #[serde(default = "one")]
    pub stands_for: u32,
    /// What has come of the connection.
    pub phase: Phase,
    /// Why.
    pub cause: Cause,
    /// One line.
    pub summary: String,
    /// What speaks for it.
    pub evidence: Vec<Evidence>,
    /// What comes if the peer stays silent.
    pub outlook: Option<Outlook>,
    /// What to change, and what that costs.
    pub advice: Vec<String>,
    /// Names the connection for the host's uptime, hexadecimal.
    pub connection: Option<String>,
    /// What both of its hosts call it, hexadecimal.
    pub shared_id: Option<String>,
    /// The other end, if it lives on this host.
    pub peer: Option<String>,
    /// Inode of the network namespace.
    pub netns: u32,
    /// This host's side.
    pub local: End,
    /// The peer.
    pub remote: End,
    /// The socket's process.
    pub process: Option<Owner>,
    /// The process that ended the connection.
    pub ended_by: Option<Process>,
    /// Where the socket lives.
    pub place: Option<PlaceNames>,
}

/// The one word of [`Diagnosis::event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiagnosisWord {
    /// `diagnosis`
    Diagnosis,
}

/// What comes if the peer stays silent.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outlook {
    /// Which timer decides.
    pub timer: Timer,
    /// Timeouts or probes so far without an answer.
    pub stage: u32,
    /// What the timer is armed for.
    pub rto_ms: u64,
    /// What it is armed for after that.
    pub next_rto_ms: Option<u64>,
    /// When the kernel gives up.
    pub deadline: Option<Deadline>,
}

/// When the kernel gives up, and by which rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Deadline {
    /// What ends the connection.
    pub rule: Rule,
    /// Not before.
    #[serde(with = "json::nanos")]
    #[schemars(with = "Timestamp")]
    pub earliest: Timestamp,
    /// Not after.
    #[serde(with = "json::nanos")]
    #[schemars(with = "Timestamp")]
    pub latest: Timestamp,
}

/// A daemon from before storms were counted reports each by itself.
fn one() -> u32 {
    1
}

impl Diagnosis {
    /// The line of a diagnosis.
    pub fn new(diagnosed: &Diagnosed) -> Self {
        let Diagnosed { diagnosis, realtime, shared, netns, local, remote, owner, ended_by, place } =
            diagnosed;
        let offset = realtime.wrapping_sub(diagnosis.time.cast_signed());
        Self {
            v: VERSION,
            time: timestamp(*realtime),
            monotonic_ns: diagnosis.time,
            event: DiagnosisWord::Diagnosis,
            stands_for: diagnosis.stands_for,
            phase: diagnosis.phase,
            cause: diagnosis.cause,
            summary: diagnosis.summary.clone(),
            evidence: diagnosis.evidence.clone(),
            outlook: diagnosis.outlook.map(|outlook| Outlook::new(&outlook, offset)),
            advice: diagnosis.advice.clone(),
            connection: diagnosis.connection.map(|id| id.to_string()),
            shared_id: shared.map(|id| id.to_string()),
            peer: diagnosis.peer.map(|id| id.to_string()),
            netns: *netns,
            local: (*local).into(),
            remote: (*remote).into(),
            process: owner.as_ref().map(Owner::from),
            ended_by: ended_by.clone(),
            place: PlaceNames::new(place),
        }
    }
}

impl Outlook {
    /// `offset` is wall clock minus monotonic clock.
    pub(crate) fn new(outlook: &timers::Outlook, offset: i64) -> Self {
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let wall = |time: u64| timestamp(time.cast_signed().saturating_add(offset));
        Self {
            timer: outlook.timer,
            stage: outlook.stage,
            rto_ms: millis(outlook.rto),
            next_rto_ms: outlook.next_rto.map(millis),
            deadline: outlook.death.map(|death| Deadline {
                rule: outlook.rule,
                earliest: wall(death.earliest),
                latest: wall(death.latest),
            }),
        }
    }
}

/// The wall clock of ns since 1970 UTC.
pub(crate) fn timestamp(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(nanos.into()).unwrap_or(Timestamp::UNIX_EPOCH)
}
