//! Process families as JSON: what `GET /v1/families` answers.

use agent_correlate::families::{Counts, Kinship, ListenAddress};
use agent_correlate::{Correlator, families};
use agent_model::event::{ForkCount, Process};
use agent_model::schema::{End, VERSION};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::forecast::Forecast;

/// The families of a host, those with the most memory first.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Listing {
    /// Version of the schema.
    pub v: u32,
    /// Age of the figures, ms; absent if no walk over open files was made.
    pub age_ms: Option<u64>,
    /// Who.
    pub families: Vec<FamilyRow>,
}

/// A process and those that share its sockets.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FamilyRow {
    /// Who listens, or connects.
    pub process: Process,
    /// Where it listens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listens: Vec<Listens>,
    /// Connections: accepted ones, or all if it does not listen.
    pub connections: u32,
    /// Sockets, listeners included.
    pub sockets: u32,
    /// Sockets that several processes hold.
    pub shared_sockets: u32,
    /// Kernel memory of all its sockets.
    pub memory_bytes: u64,
    /// The most that it ever was.
    pub peak_memory_bytes: u64,
    /// Memory of a connection, the most that it was on average.
    pub memory_each_bytes: u64,
    /// Most connections at any walk.
    pub peak_connections: u32,
    /// Connections that it gains a second.
    pub growth_per_second: Option<f64>,
    /// Processes with sockets that were forked in the family.
    pub children: u32,
    /// Processes with sockets that were not.
    pub others: u32,
    /// It forks a child for each connection.
    pub forks_per_connection: bool,
    /// What its first process forked since it was first seen.
    pub forked: Option<u64>,
    /// Children of its first process that ended since.
    pub exited: Option<u64>,
    /// Some of its processes.
    pub members: Vec<Member>,
    /// Limits that more connections reach, the first one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forecast: Vec<Forecast>,
}

/// Where a family listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listens {
    /// Inode of the network namespace.
    pub netns: u32,
    /// Address and port.
    pub local: End,
    /// Connections waiting for accept.
    pub accept_queue: u32,
    /// Most that may wait.
    pub backlog: u32,
}

/// A process of a family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Member {
    /// Who.
    #[serde(flatten)]
    pub process: Process,
    /// Its parent's process id.
    pub parent: u32,
    /// `root`, `child` or `other`.
    pub kinship: Kinship,
    /// Sockets that it holds.
    pub sockets: u32,
    /// Their memory.
    pub memory_bytes: u64,
}

/// The families that the last walk found, at `now` of `CLOCK_MONOTONIC`.
pub fn listing(correlator: &Correlator, now: u64) -> Listing {
    let families = correlator.families();
    Listing {
        v: VERSION,
        age_ms: families.time().map(|time| now.saturating_sub(time) / 1_000_000),
        families: families
            .iter()
            .map(|family| FamilyRow::new(family, crate::forecast::of(correlator, family)))
            .collect(),
    }
}

impl FamilyRow {
    fn new(family: &families::ProcessFamily, forecast: Vec<Forecast>) -> Self {
        let families::ProcessFamily { root, listens, members, counts, memory, forks, growth, .. } = family;
        let Counts { sockets, accepted: _, shared, children, children_with_one: _, others, most_held: _ } =
            *counts;
        let (forked, exited) = forks.map(|ForkCount { forked, exited }| (forked, exited)).unzip();
        Self {
            process: root.clone(),
            listens: listens.iter().map(Listens::from).collect(),
            connections: family.connections(),
            sockets,
            shared_sockets: shared,
            memory_bytes: *memory,
            peak_memory_bytes: growth.peak_memory,
            memory_each_bytes: family.memory_each(),
            peak_connections: growth.peak_connections,
            growth_per_second: growth.rate(),
            children,
            others,
            forks_per_connection: family.forks_per_connection(),
            forked,
            exited,
            members: members.iter().map(Member::from).collect(),
            forecast,
        }
    }
}

impl From<&ListenAddress> for Listens {
    fn from(place: &ListenAddress) -> Self {
        let ListenAddress { netns, cgroup: _, local, accept_queue, backlog } = *place;
        Self { netns, local: End::from(local), accept_queue, backlog }
    }
}

impl From<&families::Member> for Member {
    fn from(member: &families::Member) -> Self {
        let families::Member { process, parent, kinship, sockets, memory } = member;
        Self {
            process: process.clone(),
            parent: *parent,
            kinship: *kinship,
            sockets: *sockets,
            memory_bytes: *memory,
        }
    }
}
