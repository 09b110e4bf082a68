//! When a walk over the open files of all processes is worth its cost.

use std::collections::HashMap;

use agent_model::drops::Class;
use agent_model::event::{HostFacts, Tcp};
use agent_model::limits::WANTS;
use agent_model::units::from_jiffies;

use super::connection::Connection;
use super::observed::ConnectionId;
use super::owner;
use super::timeline::What;

/// How long after the expected next timeout a walk visits a silent stall, ns: the timer may run late
/// (docs/kernel.md, "A timer runs late by an eighth at most"), and the peer's answer takes time.
const GRACE: u64 = 1_000_000_000;

/// The walks, and the connections that need one.
#[derive(Debug, Default)]
pub struct Walks {
    /// Number of the walk that is under way or comes next.
    number: u32,
    /// When it found its first socket.
    began: Option<u64>,
    /// When the last one ended.
    done: Option<u64>,
    /// From when on a walk would find something new about a connection.
    wants: HashMap<ConnectionId, u64>,
    evicted: u64,
}

impl Walks {
    /// The number under which a finding of `time` counts.
    pub fn found(&mut self, time: u64) -> u32 {
        self.began.get_or_insert(time);
        self.number
    }

    /// A walk ended. Returns its number.
    pub fn end(&mut self, time: u64) -> u32 {
        let began = self.began.take().unwrap_or(time);
        self.wants.retain(|_, due| *due > began);
        self.done = Some(time);
        let ended = self.number;
        self.number = ended.wrapping_add(1);
        ended
    }

    /// Whether any has ended.
    pub fn any_done(&self) -> bool {
        self.done.is_some()
    }

    /// From when on the next one would find something new.
    pub fn due(&self) -> Option<u64> {
        self.wants.values().copied().min()
    }

    /// Requests for a walk that found no room.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Renews the request of a connection that had an event, or that a walk found at `held`.
    pub fn ask(&mut self, connection: &Connection, held: Option<u64>, host: &HostFacts) {
        let Some(due) = due(connection, held, host) else { return self.withdraw(connection.id) };
        if self.wants.len() < WANTS || self.wants.contains_key(&connection.id) {
            self.wants.insert(connection.id, due);
        } else {
            self.evicted += 1;
        }
    }

    /// The connection is dead, or all is known of it.
    pub fn withdraw(&mut self, id: ConnectionId) {
        self.wants.remove(&id);
    }
}

/// A connection without an owner needs a walk at once, if any file refers to it. So does one that runs short of
/// memory, since other sockets may have the memory. A stalled one needs it when its next timeout is overdue: it
/// recovered or died without an event, or its timer is one without events (zero-window and keepalive probes).
fn due(connection: &Connection, held: Option<u64>, host: &HostFacts) -> Option<u64> {
    let packed = connection.packed()?;
    if (lacks_owner(connection) && packed.has_socket()) || runs_short(connection, host) {
        return Some(connection.last);
    }
    if !connection.is_stalled() {
        return None;
    }
    // At a timeout's event the timer is not armed yet.
    let (seen, wait) = held.map_or_else(
        || (connection.last, packed.rto().saturating_mul(2)),
        |held| (held.max(connection.last), left(&packed.get())),
    );
    let wait = from_jiffies(wait, host.hz)?;
    Some(seen.saturating_add(wait.as_nanos() as u64).saturating_add(GRACE))
}

/// How long the timer that runs next still had to wait when the socket was read, jiffies; at least one.
fn left(tcp: &Tcp) -> u32 {
    let timer = if tcp.raw.pending == 0 { tcp.keepalive_expires() } else { tcp.timer_expires() };
    let left = timer.map_or(tcp.raw.rto.into(), |expires| expires.saturating_sub(tcp.raw.jiffies));
    left.clamp(1, u64::from(u32::MAX)) as u32
}

fn runs_short(connection: &Connection, host: &HostFacts) -> bool {
    let last = connection.timeline.last().map(|entry| entry.what);
    connection.is_live() && last.is_some_and(|what| is_shortage(&what, host))
}

/// Memory was refused, or a socket had no room for what came.
pub fn is_shortage(what: &What, host: &HostFacts) -> bool {
    match what {
        What::BufLimitExceeded(_) => true,
        What::PacketDropped(dropped) => dropped.class(host) == Class::Shortage,
        What::Retransmit(_)
        | What::SynackRetransmit(_)
        | What::ResetSent(_)
        | What::ResetReceived(_)
        | What::RcvqueueFull(_)
        | What::StateChanged(_)
        | What::SockDestroyed(_)
        | What::Recovered(_) => false,
    }
}

/// A dead connection's file is about to be closed, so its listener's process is a good enough owner.
fn lacks_owner(connection: &Connection) -> bool {
    let owner = connection.owner.as_deref();
    if connection.is_live() { owner::is_weak(owner) } else { owner.is_none() }
}
