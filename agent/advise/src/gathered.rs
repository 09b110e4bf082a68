//! The facts that advice is computed from: of the live host, of the agent's memory, or of a recording.

use std::collections::BTreeMap;

use agent_correlate::Correlator;
use agent_diagnose::families::{FamilyRow, Listing, listing};
use agent_diagnose::outcomes::{Outcome, Recovery};
use agent_diagnose::tracker::Tracker;
use agent_model::cause::Cause;
use agent_model::event::{Settings, TcpMemory, Usage};
use agent_model::schema::VERSION;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::{NetnsView, amount, plural, time};

/// Bits of `sk_userlocks`: the application set SO_SNDBUF, SO_RCVBUF.
const SNDBUF_LOCK: u8 = 1;
const RCVBUF_LOCK: u8 = 2;

/// All facts, as `GET /v1/advise` gives them.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Gathered {
    /// Version of the schema.
    pub v: u32,
    /// How long the agent has watched, ms; absent where none did.
    pub watched_ms: Option<u64>,
    /// Bytes of a page.
    pub page_size: u32,
    /// Settings of the namespaces in which they could be read.
    pub settings: Vec<Settings>,
    /// TCP's memory; its counters are those of the namespace `settings[0]`.
    pub memory: Option<TcpMemory>,
    /// Tasks and files.
    pub usage: Option<Usage>,
    /// How stalls ended, by namespace.
    #[serde(rename = "lessons")]
    pub outcomes: Vec<Outcome>,
    /// Deaths on the whole host by cause.
    pub deaths: BTreeMap<Cause, u64>,
    /// Packets of TCP that this host dropped, as far as they were told.
    #[serde(default)]
    pub drops: Vec<DropCount>,
    /// Who holds sockets.
    pub families: Vec<FamilyRow>,
    /// Connections in trouble whose SO_RCVBUF, SO_SNDBUF was cut to `rmem_max`, `wmem_max`.
    pub capped: [u64; 2],
    /// How to get into a namespace: the words before a command. Whoever shows the advice fills it in.
    #[serde(skip)]
    pub entrances: BTreeMap<u32, String>,
}

/// Packets dropped in one network namespace for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DropCount {
    /// Inode of the network namespace where they died.
    pub netns: u32,
    /// The kernel's name of the reason.
    pub reason: String,
    /// How many, at least.
    pub packets: u64,
}

/// What is remembered, at `now` of `CLOCK_MONOTONIC`.
pub fn gather(correlator: &Correlator, tracker: &Tracker, now: u64) -> Gathered {
    let Listing { families, .. } = listing(correlator, now);
    let deaths = Cause::ALL.iter().zip(&tracker.stats().deaths).filter(|(_, count)| **count > 0);
    Gathered {
        v: VERSION,
        watched_ms: correlator.span().map(|(began, _)| now.saturating_sub(began) / 1_000_000),
        page_size: correlator.host().page_size,
        settings: correlator.settings().cloned().into_iter().collect(),
        memory: correlator.tcp_memory().cloned(),
        usage: correlator.usage().copied(),
        outcomes: tracker.outcomes().iter().cloned().collect(),
        deaths: deaths.map(|(cause, count)| (*cause, *count)).collect(),
        drops: drops(correlator),
        families,
        capped: capped(correlator),
        entrances: BTreeMap::new(),
    }
}

fn drops(correlator: &Correlator) -> Vec<DropCount> {
    let row =
        |(netns, reason, packets): (u32, &str, u64)| DropCount { netns, reason: reason.to_owned(), packets };
    correlator.drops_by_reason().map(row).collect()
}

/// `sock_setsockopt` doubles what is asked, of which it takes no more than the maximum.
fn capped(correlator: &Correlator) -> [u64; 2] {
    let most = |name| correlator.settings().and_then(|settings| settings.value(name));
    let [rmem_max, wmem_max] = ["net.core.rmem_max", "net.core.wmem_max"].map(most);
    let is = |locks: u8, lock: u8, size: u32, most: Option<u64>| {
        locks & lock != 0 && most.is_some_and(|most| u64::from(size) == most.saturating_mul(2))
    };
    let sockets = correlator.connections().filter_map(|connection| Some(connection.tcp()?.raw));
    sockets.fold([0, 0], |[receive, send], raw| {
        [
            receive + u64::from(is(raw.userlocks, RCVBUF_LOCK, raw.rcvbuf, rmem_max)),
            send + u64::from(is(raw.userlocks, SNDBUF_LOCK, raw.sndbuf, wmem_max)),
        ]
    })
}

impl Gathered {
    /// The namespaces: those whose settings are known, then the others that had stalls or dropped packets.
    pub(super) fn places(&self) -> Vec<NetnsView<'_>> {
        let known = self.settings.iter().map(|settings| settings.netns);
        let stalled = self.outcomes.iter().map(|outcome| outcome.netns);
        let mut all: Vec<u32> = known.chain(stalled).chain(self.drops.iter().map(|row| row.netns)).collect();
        let mut seen = std::collections::BTreeSet::new();
        all.retain(|netns| seen.insert(*netns));
        let place = |netns| NetnsView {
            gathered: self,
            netns,
            outcome: self.outcomes.iter().find(|outcome| outcome.netns == netns),
            settings: self.settings.iter().find(|settings| settings.netns == netns),
        };
        all.into_iter().map(place).collect()
    }

    /// Deaths on the whole host.
    pub(super) fn deaths(&self, cause: Cause) -> u64 {
        self.deaths.get(&cause).copied().unwrap_or(0)
    }

    /// Packets dropped on the whole host for `reason`.
    pub(super) fn dropped(&self, reason: &str) -> u64 {
        self.drops.iter().filter(|row| row.reason == reason).map(|row| row.packets).sum()
    }

    /// A counter of `/proc/net/netstat`, of the first namespace; 0 if it is not known.
    pub(super) fn counter(&self, name: &str) -> u64 {
        self.memory.as_ref().and_then(|memory| memory.counter(name)).unwrap_or(0)
    }

    /// A setting of the whole host.
    pub(super) fn value(&self, name: &str) -> Option<u64> {
        self.settings.iter().find_map(|settings| settings.value(name))
    }

    /// Words before a command that is to run in a namespace.
    pub(super) fn enter(&self, netns: u32) -> String {
        let unknown = || format!("nsenter --net=FILE_OF_NAMESPACE_{netns} ");
        self.entrances.get(&netns).cloned().unwrap_or_else(unknown)
    }

    /// Lines about the facts that the advice, or its absence, rests on.
    pub(super) fn looked_at(&self, places: &[NetnsView]) -> Vec<String> {
        let watched = |ms: u64| format!("{} of history", time(std::time::Duration::from_millis(ms)));
        let history = self.watched_ms.map_or_else(|| "no history: no agent was asked".to_owned(), watched);
        let mut all = vec![history];
        all.extend(places.iter().map(look));
        all.extend(self.memory.as_ref().map(|memory| {
            let TcpMemory { pages, orphans, sockets, .. } = memory;
            let of = |limit: Option<u64>| limit.map_or_else(String::new, |limit| format!(" of {limit}"));
            let (high, most) = (of(memory.tcp_mem().map(|[.., high]| high)), of(memory.orphans_limit()));
            format!("TCP memory: {pages}{high} pages, {orphans}{most} orphans, {sockets} sockets")
        }));
        let (overflows, drops) = (self.counter("ListenOverflows"), self.counter("TCPReqQFullDrop"));
        all.push(format!("listen queues: {overflows} overflows, {drops} SYNs dropped"));
        let connections: u64 = self.families.iter().map(|family| u64::from(family.connections)).sum();
        let memory: u64 = self.families.iter().map(|family| family.memory_bytes).sum();
        let size = agent_model::units::size(memory);
        let families = self.families.len() as u64;
        all.push(format!(
            "{connections} connections in {} with {size} of memory",
            amount(families, "process family", "process families")
        ));
        all
    }
}

fn look(place: &NetnsView) -> String {
    let outcome = place.outcome.cloned().unwrap_or_default();
    let recoveries: u64 = outcome.recoveries.iter().map(|Recovery { count, .. }| count).sum();
    let deaths: u64 = outcome.deaths.values().sum();
    let settings = if place.settings.is_some() { "" } else { " (of its settings only those of its sockets)" };
    format!(
        "network namespace {}{settings}: {}, {}",
        place.netns,
        plural(recoveries, "recovered stall"),
        plural(deaths, "death"),
    )
}
