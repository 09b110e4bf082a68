//! Half-open connections whose SYN-ACK was sent again. They have no socket of their own and end without an
//! event: each is forgotten when the kernel must have dropped it, or else made it a connection.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use agent_model::event::{Detail, Endpoint};
use agent_model::limits::REQUESTS;

use super::connection::Connection;
use super::observed::Observed;
use super::stage::RTO_MAX;
use super::table::Table;
use super::timeline::Room;

/// A half-open connection.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is known of it so far, of which its listener's process owns it.
    pub connection: Connection,
    /// The last SYN-ACK that was sent again.
    pub observed: Observed,
}

/// Network namespace, local end, remote end.
type Ends = (u32, SocketAddr, SocketAddr);

/// The half-open connections.
#[derive(Debug, Default)]
pub struct Requests {
    by_ends: HashMap<Ends, Request>,
    evicted: u64,
}

impl Request {
    fn new(observed: &Observed) -> Self {
        let event = &observed.event;
        // The event's socket is the listener's.
        let endpoint = Endpoint { sk: None, cookie: None, ..event.endpoint };
        let id = Table::made_id(&endpoint, event.time);
        Self { connection: Connection::new(id, &endpoint, event.time), observed: observed.clone() }
    }

    /// When the kernel has dropped it, ns of `CLOCK_MONOTONIC`: as foreseen, else when its slowest timer has run.
    fn until(&self) -> u64 {
        let death = self.observed.outlook.and_then(|outlook| outlook.death);
        let silence = self.connection.last.saturating_add(RTO_MAX.as_nanos() as u64);
        death.map_or(silence, |death| death.latest)
    }
}

impl Requests {
    /// All, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Request> {
        self.by_ends.values()
    }

    /// Forgotten for want of space.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Takes in a SYN-ACK that was sent again.
    pub fn follow(&mut self, observed: &Observed) {
        let event = &observed.event;
        if !matches!(event.detail, Detail::SynackRetransmit(_)) || observed.connection.is_some() {
            return;
        }
        let Endpoint { netns, local, remote, .. } = event.endpoint;
        let ends = (netns, local, remote);
        if !self.by_ends.contains_key(&ends) {
            self.make_room(event.time);
        }
        let Request { connection, observed: last } =
            self.by_ends.entry(ends).or_insert_with(|| Request::new(observed));
        connection.absorb(event, observed.stage, Room::Scarce);
        connection.owner = observed.owner.clone().map(Arc::new);
        *last = observed.clone();
    }

    /// Forgets those that the kernel has dropped by `now`.
    pub fn expire(&mut self, now: u64) {
        self.by_ends.retain(|_, request| request.until() >= now);
    }

    /// Of a flood of SYNs the latest stay.
    fn make_room(&mut self, now: u64) {
        if self.by_ends.len() < REQUESTS {
            return;
        }
        self.expire(now);
        let oldest = self.by_ends.iter().min_by_key(|(_, request)| request.connection.last);
        if let Some(ends) = oldest.map(|(ends, _)| *ends).filter(|_| self.by_ends.len() >= REQUESTS) {
            self.by_ends.remove(&ends);
            self.evicted += 1;
        }
    }
}
