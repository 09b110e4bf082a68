//! How past stalls ended, by network namespace: after how many timeouts peers answered again, and which connections
//! never recovered. From this follows what another limit would have done.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use agent_common::record::ABSENT8;
use agent_correlate::connection::Connection;
use agent_model::cause::Cause;
use agent_model::event::{Process, Tcp, TcpState};
use agent_model::units::from_jiffies;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// Network namespaces with an entry of their own; on a node with more pods the first that had stalls have one.
const NAMESPACES: usize = 256;

/// Deaths that are remembered of a namespace; older ones are only counted.
const LOSSES: usize = 128;

/// What a stalled connection waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Waiting {
    /// Data, or a FIN, to be acknowledged.
    Data,
    /// The same, of a socket that was closed.
    Orphan,
    /// An answer to its SYN.
    Syn,
    /// An answer to a probe: zero window, or keepalive.
    Probe,
}

/// How a stall began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// What it waits for.
    pub waiting: Waiting,
    /// The RTO before any timeout.
    pub rto: Duration,
    /// Timeouts that had expired when it was first seen.
    pub stage: u32,
}

/// Stalls that recovered alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recovery {
    /// What they waited for.
    pub waiting: Waiting,
    /// Timeouts that had expired.
    pub stage: u32,
    /// The longest RTO before any timeout, ms.
    pub rto_ms: u64,
    /// How many.
    pub count: u64,
}

/// A connection that died of silence.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Loss {
    /// Why.
    pub cause: Cause,
    /// What it waited for.
    pub waiting: Waiting,
    /// Timeouts that had expired.
    pub stage: u32,
    /// RTO before any timeout, ms.
    pub rto_ms: u64,
    /// From the first transmission that got no answer to the end, ms.
    pub lived_ms: u64,
    /// Whose it was.
    pub process: Option<Process>,
}

/// Settings of a namespace that decide when the kernel gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Retries {
    /// `tcp_retries2`
    pub retries2: u8,
    /// `tcp_syn_retries`
    pub syn_retries: u8,
    /// `tcp_syn_linear_timeouts`; 0 where the kernel has none.
    pub syn_linear: u8,
    /// `tcp_orphan_retries`
    pub orphan_retries: u8,
    /// `icsk_rto_max` of its sockets, ms.
    pub rto_max_ms: u64,
    /// `tcp_keepalive_time`, ms.
    pub keepalive_time_ms: u64,
    /// `tcp_keepalive_intvl`, ms.
    pub keepalive_intvl_ms: u64,
    /// `tcp_keepalive_probes`
    pub keepalive_probes: u8,
}

/// All that a namespace taught.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// Inode of the network namespace.
    pub netns: u32,
    /// Its settings, as its sockets had them last; absent until a stall or a death was seen.
    pub retries: Option<Retries>,
    /// Stalls that recovered.
    pub recoveries: Vec<Recovery>,
    /// The last connections that died of silence.
    pub losses: VecDeque<Loss>,
    /// All deaths by cause.
    pub deaths: BTreeMap<Cause, u64>,
}

/// Outcomes by namespace.
#[derive(Clone, Debug, Default)]
pub struct Outcomes {
    known: BTreeMap<u32, Outcome>,
    left_out: u64,
}

impl Start {
    /// Of a connection that stalls.
    pub fn of(connection: &Connection, tcp: &Tcp, hz: u32) -> Self {
        let raw = &tcp.raw;
        let waiting = if connection.state == Some(TcpState::SynSent) {
            Waiting::Syn
        } else if raw.retransmits == 0 && raw.probes_out > 0 {
            Waiting::Probe
        } else if tcp.is_orphan() {
            Waiting::Orphan
        } else {
            Waiting::Data
        };
        // `icsk_rto` doubles with `icsk_backoff`, until it reaches its maximum.
        let rto = raw.rto.checked_shr(raw.backoff.into()).unwrap_or(0).max(1);
        let rto = from_jiffies(rto, hz).unwrap_or_default();
        Self { waiting, rto, stage: raw.retransmits.max(raw.probes_out).into() }
    }

    /// From the first transmission until it was first seen.
    fn before(&self) -> Duration {
        self.rto.saturating_mul(1_u32.checked_shl(self.stage).unwrap_or(u32::MAX).saturating_sub(1))
    }
}

impl Outcomes {
    /// A stall is over: the peer answered after `stage` timeouts.
    pub fn recovered(&mut self, connection: &Connection, start: &Start, stage: u32, hz: u32) {
        let Some(outcome) = self.of(connection, hz) else { return };
        let (waiting, rto_ms) = (start.waiting, millis(start.rto));
        let same = |known: &&mut Recovery| (known.waiting, known.stage) == (waiting, stage);
        match outcome.recoveries.iter_mut().find(same) {
            Some(known) => {
                known.count += 1;
                known.rto_ms = known.rto_ms.max(rto_ms);
            }
            None => outcome.recoveries.push(Recovery { waiting, stage, rto_ms, count: 1 }),
        }
    }

    /// A connection died; `stall` is how its stall began, when, and after how many timeouts it ended.
    pub fn died(&mut self, connection: &Connection, cause: Cause, stall: Option<(Start, u64, u32)>, hz: u32) {
        let Some(outcome) = self.of(connection, hz) else { return };
        *outcome.deaths.entry(cause).or_default() += 1;
        let Some(((start, since, stage), died)) =
            stall.zip(connection.died()).filter(|_| is_of_silence(cause))
        else {
            return;
        };
        let lived = Duration::from_nanos(died.saturating_sub(since)).saturating_add(start.before());
        if outcome.losses.len() >= LOSSES {
            outcome.losses.pop_front();
        }
        outcome.losses.push_back(Loss {
            cause,
            waiting: start.waiting,
            stage,
            rto_ms: millis(start.rto),
            lived_ms: millis(lived),
            process: connection.owner.as_ref().map(|owner| owner.process.clone()),
        });
    }

    /// Something without a connection failed so many times.
    pub fn failed(&mut self, netns: u32, cause: Cause, times: u64) {
        if let Some(outcome) = self.namespace(netns) {
            *outcome.deaths.entry(cause).or_default() += times;
        }
    }

    /// All, by namespace.
    pub fn iter(&self) -> impl Iterator<Item = &Outcome> {
        self.known.values()
    }

    /// Stalls and deaths of namespaces for which there was no room.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    fn of(&mut self, connection: &Connection, hz: u32) -> Option<&mut Outcome> {
        let outcome = self.namespace(connection.identity.netns)?;
        if let Some(tcp) = connection.tcp() {
            outcome.retries = Some(Retries::of(&tcp, hz));
        }
        Some(outcome)
    }

    fn namespace(&mut self, netns: u32) -> Option<&mut Outcome> {
        if self.known.len() >= NAMESPACES && !self.known.contains_key(&netns) {
            self.left_out += 1;
            return None;
        }
        Some(self.known.entry(netns).or_insert_with(|| Outcome { netns, ..Outcome::default() }))
    }
}

impl Retries {
    fn of(tcp: &Tcp, hz: u32) -> Self {
        let ms = |jiffies: u32| from_jiffies(jiffies, hz).map_or(0, millis);
        let settings = &tcp.netns;
        Self {
            retries2: settings.retries2,
            syn_retries: settings.syn_retries,
            syn_linear: if settings.syn_linear_timeouts == ABSENT8 {
                0
            } else {
                settings.syn_linear_timeouts
            },
            orphan_retries: settings.orphan_retries,
            rto_max_ms: tcp.rto_max().map_or(agent_model::timers::policy::TCP_RTO_MAX_SECS * 1000, ms),
            keepalive_time_ms: ms(settings.keepalive_time),
            keepalive_intvl_ms: ms(settings.keepalive_intvl),
            keepalive_probes: settings.keepalive_probes,
        }
    }
}

/// Whether a limit on silence ended it.
fn is_of_silence(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::RetransmissionTimeout
            | Cause::ConnectTimeout
            | Cause::OrphanTimeout
            | Cause::UserTimeout
            | Cause::KeepaliveTimeout
            | Cause::ZeroWindowTimeout
    )
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_namespaces_without_room_teach_is_counted() {
        let mut outcomes = Outcomes::default();
        for netns in 0..NAMESPACES as u32 + 3 {
            outcomes.failed(netns, Cause::ConnectionRefused, 1);
        }
        outcomes.failed(0, Cause::ConnectionRefused, 1);
        assert_eq!((outcomes.iter().count(), outcomes.left_out()), (NAMESPACES, 3));
    }
}
