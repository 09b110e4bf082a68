//! Segments of connections that this host does not have, which it answers with a reset: whoever gets the reset may be
//! on this host too, and asks for them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use agent_model::event::{Detail, Segment, TcpFlags};

use super::Correlator;
use super::connection::Connection;
use super::listeners::Listener;
use super::observed::Observed;

/// Remembered at most; the oldest go first.
const MAX: usize = 256;

/// Between the reset's way out and its arrival within a host pass microseconds, ns.
const ON_THE_WAY: u64 = 1_000_000_000;

/// The port's other connections are looked for among so many at most: the search reads them all.
const NEIGHBOURS: usize = 4096;

/// A segment that met no connection, and was reset.
#[derive(Clone, Debug)]
pub struct Stray {
    /// When, ns of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// Inode of the network namespace that it came to.
    pub netns: u32,
    /// Where it came to.
    pub local: SocketAddr,
    /// Whence: who gets the reset.
    pub remote: SocketAddr,
    /// Who listens there.
    pub listener: Option<Arc<Listener>>,
    /// The segment: never a SYN alone, nor a reset.
    pub segment: Segment,
}

impl Stray {
    /// Of a reset without a connection that answers anything else than a SYN (`tcp_v4_rcv`: NO_SOCKET,
    /// `tcp_rcv_state_process` of a listener that gets an ACK: TCP_FLAGS).
    pub fn of(observed: &Observed) -> Option<Self> {
        let Detail::ResetSent(reset) = &observed.event.detail else { return None };
        let segment = reset.trigger.filter(|segment| !is_syn(segment))?;
        let endpoint = &observed.event.endpoint;
        let met_none = matches!(observed.reason.as_deref(), Some("NO_SOCKET" | "TCP_FLAGS"));
        (observed.connection.is_none() && met_none).then(|| Self {
            time: observed.event.time,
            netns: endpoint.netns,
            local: endpoint.local,
            remote: endpoint.remote,
            listener: observed.listener.somebody().cloned(),
            segment,
        })
    }
}

fn is_syn(segment: &Segment) -> bool {
    segment.flags.contains(TcpFlags::SYN) && !segment.flags.contains(TcpFlags::ACK)
}

/// The last ones.
#[derive(Debug, Default)]
pub(super) struct Strays(VecDeque<Stray>);

impl Strays {
    /// Takes in an event.
    pub fn follow(&mut self, observed: &Observed) {
        let Some(stray) = Stray::of(observed) else { return };
        if self.0.len() == MAX {
            self.0.pop_front();
        }
        self.0.push_back(stray);
    }
}

impl Correlator {
    /// The segment of this connection that another place of this host answered with the reset which arrived at `time`.
    /// Its addresses may have been translated on the way; sequence numbers stay.
    pub fn stray_of(&self, connection: &Connection, time: u64) -> Option<&Stray> {
        let identity = &connection.identity;
        let near = self
            .strays
            .0
            .iter()
            .rev()
            .filter(|stray| stray.remote == identity.local() && stray.time.abs_diff(time) < ON_THE_WAY);
        near.into_iter().find(|stray| {
            let is_loopback = stray.local.ip().is_loopback();
            let is_same = stray.local == identity.remote() && (!is_loopback || stray.netns == identity.netns);
            is_same || has_sent(connection, stray.segment.seq)
        })
    }

    /// A living connection with the ends of this segment in another network namespace.
    pub fn elsewhere(&self, stray: &Stray) -> Option<&Connection> {
        let mut same = self.table.by_ends(stray.local, stray.remote);
        same.find(|known| known.is_live() && known.identity.netns != stray.netns)
    }

    /// The connection with these ends that ended in this network namespace.
    pub fn former(&self, stray: &Stray) -> Option<&Connection> {
        let mut same = self.table.by_ends(stray.local, stray.remote);
        same.find(|known| !known.is_live() && known.identity.netns == stray.netns)
    }

    /// The connection of another peer that has the port which the segment came to.
    pub fn neighbour(&self, stray: &Stray) -> Option<&Connection> {
        if self.table.live() + self.table.dead() > NEIGHBOURS {
            return None;
        }
        let neighbours = self.connections().filter(|known| {
            let identity = &known.identity;
            (identity.netns, identity.local()) == (stray.netns, stray.local)
                && identity.remote() != stray.remote
                && known.last.saturating_add(ON_THE_WAY) > stray.time
                && !known.accepted
        });
        neighbours.max_by_key(|known| (known.last, known.id))
    }
}

/// Whether the socket has a segment with this sequence number in flight.
fn has_sent(connection: &Connection, seq: u32) -> bool {
    connection.tcp().is_some_and(|tcp| {
        let (una, nxt) = (tcp.raw.snd_una, tcp.raw.snd_nxt);
        una != nxt && seq.wrapping_sub(una) < nxt.wrapping_sub(una)
    })
}
