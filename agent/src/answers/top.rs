//! The host at a glance: what `GET /v1/top` answers, for `tcpwhy top` and the live page. Bounded, however
//! much is wrong.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use agent_common::record::Totals;
use agent_correlate::Correlator;
use agent_correlate::connection::Connection;
use agent_correlate::observed::ConnectionId;
use agent_diagnose::tracker::{Stall, Tracker};
use agent_model::cause::Cause;
use agent_model::event::TcpMemory;
use agent_model::schema::End;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::why;
use crate::schema::{Outlook, Owner, PlaceNames, timestamp};

/// Stalled connections in the answer, those whose end is nearest: no screen shows more.
const STALLS: usize = 100;
/// Workloads in the answer, those with the most segments sent again.
const WORKLOADS: usize = 50;
/// The workload of connections whose process is not known.
const NOBODY: &str = "(unknown)";

/// The answer.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Top {
    /// Version of the schema.
    pub v: u32,
    /// The agent's wall clock.
    #[serde(with = "crate::schema::nanos")]
    #[schemars(with = "Timestamp")]
    pub time: Timestamp,
    /// `uname -r`
    pub kernel: String,
    /// TCP's memory on this host; absent where it cannot be read.
    pub memory: Option<Memory>,
    /// What was lost, by place: 0 everywhere is as it should be.
    pub lost: BTreeMap<String, u64>,
    /// Events of storms without a line of their own, for which other lines stand: no loss.
    #[serde(default)]
    pub coalesced: u64,
    /// What the pipeline remembers.
    #[serde(flatten)]
    pub overview: Overview,
}

/// TCP's memory against its limits, of the whole host; see [`TcpMemory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Memory {
    /// In use, pages.
    pub pages: u64,
    /// `tcp_mem`: low, pressure and high, pages.
    pub limits: [u64; 3],
    /// Bytes.
    pub page_size: u64,
    /// TCP is under pressure now.
    pub under_pressure: bool,
    /// Closed sockets that the kernel still serves.
    pub orphans: u64,
    /// `tcp_max_orphans`
    pub max_orphans: u64,
    /// Sockets that have memory.
    pub sockets: u64,
    /// Sockets in `TIME_WAIT`, of the agent's network namespace.
    pub time_wait: u64,
}

impl Memory {
    pub(crate) fn new(memory: &TcpMemory, page_size: u64) -> Self {
        let TcpMemory { pages, limits, pressure, sockets, orphans, max_orphans, time_wait, .. } = *memory;
        Self { pages, limits, page_size, under_pressure: pressure, orphans, max_orphans, sockets, time_wait }
    }
}

/// What the pipeline remembers, in short.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Overview {
    /// Connections with trouble.
    pub connections: Connections,
    /// Every cause that was ever seen.
    pub causes: Vec<CauseCount>,
    /// Stalled connections, the nearest end first; those that nothing ends come last.
    pub stalled: Vec<Stalled>,
    /// Workloads with connections in trouble, most segments sent again first.
    pub workloads: Vec<Workload>,
}

/// Connections with trouble that the agent remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Connections {
    /// Living ones, the stalled included.
    pub live: usize,
    /// Whose peer does not answer.
    pub stalled: usize,
    /// Dead ones.
    pub dead: usize,
}

/// How often a cause was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CauseCount {
    /// Which.
    pub cause: Cause,
    /// Connections that it holds up now.
    pub stalled: u64,
    /// Connections that it ended, and attempts that it made fail, since the agent's start.
    pub deaths: u64,
}

/// A connection whose peer does not answer.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stalled {
    /// Names the connection for the host's uptime, hexadecimal.
    pub connection: String,
    /// Inode of the network namespace.
    pub netns: u32,
    /// This host's side.
    pub local: End,
    /// The peer.
    pub remote: End,
    /// The socket's process.
    pub process: Option<Owner>,
    /// Where the socket lives.
    pub place: Option<PlaceNames>,
    /// Since when, as far as the agent saw.
    #[serde(with = "crate::schema::nanos")]
    #[schemars(with = "Timestamp")]
    pub since: Timestamp,
    /// Why.
    pub cause: Option<Cause>,
    /// One line.
    pub summary: String,
    /// What comes if the peer stays silent.
    pub outlook: Option<Outlook>,
}

/// The connections with trouble of all pods of one workload, or outside pods of all processes of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Workload {
    /// `NAMESPACE/NAME` of what the pods belong to, or else the processes' name.
    pub name: String,
    /// Living connections with trouble.
    pub live: u64,
    /// Those of them whose peer does not answer.
    pub stalled: u64,
    /// Dead ones that are remembered.
    pub dead: u64,
    /// Segments sent again on all of these.
    pub resent_segments: u64,
    /// Payload sent on them, retransmissions included.
    pub sent_bytes: u64,
    /// Payload sent again.
    pub resent_bytes: u64,
    /// Resets sent.
    pub resets_sent: u64,
    /// Resets received.
    pub resets_received: u64,
}

impl Workload {
    /// Share of the payload that was sent again, 0 to 1; `None` if none was sent.
    pub fn retransmit_ratio(&self) -> Option<f64> {
        (self.sent_bytes > 0).then(|| self.resent_bytes as f64 / self.sent_bytes as f64)
    }

    fn add(&mut self, connection: &Connection) {
        let tcp = connection.tcp();
        let totals = tcp.map_or_else(Totals::default, |tcp| tcp.totals);
        self.live += u64::from(connection.is_live());
        self.dead += u64::from(!connection.is_live());
        self.stalled += u64::from(connection.is_stalled());
        self.resent_segments += totals.segments.iter().copied().map(u64::from).sum::<u64>();
        self.resets_sent += u64::from(totals.resets_sent);
        self.resets_received += u64::from(totals.resets_received);
        if let Some(tcp) = tcp {
            self.sent_bytes += tcp.raw.bytes_sent;
            self.resent_bytes += tcp.raw.bytes_retrans;
        }
    }
}

/// What is remembered now.
pub fn overview(correlator: &Correlator, tracker: &Tracker) -> Overview {
    let sizes = correlator.sizes();
    let connections =
        Connections { live: sizes.connections, stalled: tracker.stalls().count(), dead: sizes.history };
    Overview {
        connections,
        causes: causes(tracker),
        stalled: nearest(tracker).filter_map(|(id, stall)| stalled(correlator, tracker, id, stall)).collect(),
        workloads: workloads(correlator),
    }
}

fn causes(tracker: &Tracker) -> Vec<CauseCount> {
    let mut stalled: HashMap<Cause, u64> = HashMap::new();
    for cause in tracker.stalls().filter_map(|(_, stall)| stall.cause) {
        *stalled.entry(cause).or_default() += 1;
    }
    let counts = Cause::ALL.iter().zip(&tracker.stats().deaths).map(|(&cause, &deaths)| CauseCount {
        cause,
        stalled: stalled.get(&cause).copied().unwrap_or(0),
        deaths,
    });
    let mut seen: Vec<_> = counts.filter(|count| count.stalled + count.deaths > 0).collect();
    seen.sort_by_key(|count| Reverse((count.stalled, count.deaths)));
    seen
}

/// The stalls whose end is nearest.
fn nearest(tracker: &Tracker) -> impl Iterator<Item = (ConnectionId, &Stall)> {
    let mut stalls: Vec<_> = tracker.stalls().collect();
    let end =
        |(id, stall): &(ConnectionId, &Stall)| (stall.death.map_or(u64::MAX, |death| death.latest), *id);
    if stalls.len() > STALLS {
        stalls.select_nth_unstable_by_key(STALLS, end);
        stalls.truncate(STALLS);
    }
    stalls.sort_unstable_by_key(end);
    stalls.into_iter()
}

fn stalled(correlator: &Correlator, tracker: &Tracker, id: ConnectionId, stall: &Stall) -> Option<Stalled> {
    let connection = correlator.connection_by_id(id).filter(|connection| connection.is_stalled())?;
    let diagnosis = why::judge(correlator, tracker, connection);
    let (cause, summary, outlook) =
        diagnosis.map_or_else(Default::default, |one| (Some(one.cause), one.summary, one.outlook));
    Some(Stalled {
        connection: id.to_string(),
        netns: connection.identity.netns,
        local: connection.identity.local().into(),
        remote: connection.identity.remote().into(),
        process: connection.owner.as_deref().map(Owner::from),
        place: PlaceNames::new(&correlator.place(connection)),
        since: timestamp(correlator.realtime(stall.since)),
        cause,
        summary,
        outlook,
    })
}

fn workloads(correlator: &Correlator) -> Vec<Workload> {
    let mut by_name: HashMap<Cow<'_, str>, Workload> = HashMap::new();
    for connection in correlator.connections() {
        let process = connection.owner.as_ref().map_or(NOBODY, |owner| &owner.process.comm);
        let name = pods_workload(correlator, connection).map_or(Cow::Borrowed(process), Cow::Owned);
        by_name.entry(name).or_default().add(connection);
    }
    let mut all: Vec<_> = by_name.into_iter().collect();
    all.sort_unstable_by_key(|(name, one)| {
        (Reverse(one.resent_segments), Reverse(one.live + one.dead), name.clone())
    });
    all.truncate(WORKLOADS);
    all.into_iter().map(|(name, one)| Workload { name: name.into_owned(), ..one }).collect()
}

/// `shop/web`: the pod's owner, the pod itself if it has none.
fn pods_workload(correlator: &Correlator, connection: &Connection) -> Option<String> {
    let place = correlator.place(connection);
    let (namespace, pod) = (place.namespace()?, &*place.pod()?.name);
    let name = place.workload().map_or(pod, |workload| &workload.name);
    Some(format!("{namespace}/{name}"))
}

#[cfg(test)]
mod tests {
    use agent_diagnose::fixture::{Bench, SECOND, closed, timeout};
    use agent_model::fixture::ESTABLISHED;

    use super::*;

    #[test]
    fn a_stall_counts_until_it_ends() {
        let mut bench = Bench::new();
        bench.push(&timeout(SECOND, 1, 51).owner(4711, "curl", agent_common::owner::CONNECT));
        bench.push(&timeout(2 * SECOND, 2, 102));
        let seen = overview(bench.0.correlator(), bench.0.tracker());
        assert_eq!(seen.connections, Connections { live: 1, stalled: 1, dead: 0 });
        let cause = CauseCount { cause: Cause::RetransmissionTimeout, stalled: 1, deaths: 0 };
        assert_eq!(seen.causes, [cause]);
        let [stalled] = &seen.stalled[..] else { panic!("{seen:#?}") };
        assert_eq!((stalled.connection.as_str(), stalled.cause), ("2a", Some(cause.cause)));
        assert!(stalled.outlook.as_ref().is_some_and(|outlook| outlook.deadline.is_some()), "{stalled:#?}");
        let [workload] = &seen.workloads[..] else { panic!("{seen:#?}") };
        assert_eq!((workload.name.as_str(), workload.stalled, workload.resent_segments), ("curl", 1, 2));

        bench.push(&closed(3 * SECOND, ESTABLISHED, libc::ETIMEDOUT));
        let seen = overview(bench.0.correlator(), bench.0.tracker());
        assert_eq!(seen.connections, Connections { live: 0, stalled: 0, dead: 1 });
        assert_eq!(seen.causes, [CauseCount { stalled: 0, deaths: 1, ..cause }]);
        assert!(seen.stalled.is_empty() && seen.workloads[0].dead == 1, "{seen:#?}");
    }

    #[test]
    fn the_nearest_ends_are_listed() {
        let mut bench = Bench::new();
        for number in 0..STALLS as u64 + 20 {
            let record =
                timeout(SECOND + number * SECOND / 100, 1, 51).socket(0x1000 + number * 64, 100 + number);
            bench.push(&record);
        }
        let seen = overview(bench.0.correlator(), bench.0.tracker());
        assert_eq!((seen.connections.stalled, seen.stalled.len()), (STALLS + 20, STALLS));
        let ends: Vec<_> = seen
            .stalled
            .iter()
            .map(|one| one.outlook.as_ref().unwrap().deadline.as_ref().unwrap().latest)
            .collect();
        assert!(ends.is_sorted());
        assert_eq!(seen.stalled[0].connection, "64");
    }
}
