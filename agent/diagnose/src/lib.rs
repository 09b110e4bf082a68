//! Says why a connection stalled or died: pure functions over what correlation kept of it.
//!
//! [`diagnose`] asks the rules of [`causes`] in the order of their table; the first that recognises the
//! [`Story`] answers. [`tracker`] says when to ask. No rule reads a clock, /proc or the kernel.

use agent_correlate::observed::ConnectionId;
use agent_model::cause::Cause;
use agent_model::timers::Outlook;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod backlog;
mod causes;
mod diagnosed;
pub mod families;
pub mod fates;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
pub mod forecast;
pub mod judge;
pub mod outcomes;
mod path;
pub mod stats;
pub mod story;
#[cfg(test)]
mod tests;
pub mod tracker;

pub use diagnosed::Diagnosed;
pub use story::Story;

/// What has come of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It is over.
    Died,
    /// It lives, and waits.
    Stalled,
    /// It lives, and what held it up is over.
    Recovered,
}

/// How sure something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// The kernel reported it.
    Observed,
    /// It follows from what the kernel reported, if nothing unseen interfered.
    Inferred,
}

/// One thing that speaks for the cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// How sure it is.
    pub certainty: Certainty,
    /// What it is.
    pub text: String,
}

/// Why a connection stalled or died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// Why.
    pub cause: Cause,
    /// What has come of it.
    pub phase: Phase,
    /// Whose; `None` for a connection that never was one.
    pub connection: Option<ConnectionId>,
    /// The other end, if it lives on this host: both ends report one problem.
    pub peer: Option<ConnectionId>,
    /// When it died, stalled or recovered, ns of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// Connections that it stands for: this one, and in a storm those of the same source and end without a line of
    /// their own. At least 1.
    pub stands_for: u32,
    /// One line.
    pub summary: String,
    /// The evidence.
    pub evidence: Vec<Evidence>,
    /// What comes if the peer stays silent; of a stall.
    pub outlook: Option<Outlook>,
    /// What to change, and what that costs.
    pub advice: Vec<String>,
}

/// Says why. `None` if nothing is wrong.
pub fn diagnose(story: &Story) -> Option<Diagnosis> {
    Some(about(story, causes::find(story)?))
}

/// What troubled a connection while it lived, if it ended in order. `story` is as of one that lives.
pub fn diagnose_past(story: &Story) -> Option<Diagnosis> {
    Some(about(story, causes::past(story)?))
}

fn about(story: &Story, finding: causes::Finding) -> Diagnosis {
    let causes::Finding { cause, summary, evidence, advice } = finding;
    Diagnosis {
        cause,
        phase: story.phase,
        connection: story.connection.map(|connection| connection.id),
        peer: story.peer.map(|peer| peer.id),
        time: story.time,
        stands_for: 1,
        summary,
        evidence,
        outlook: story.outlook,
        advice,
    }
}
