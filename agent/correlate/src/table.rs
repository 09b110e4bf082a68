//! Where connections are kept: found by socket, by name and by their two ends; bounded both alive and dead.

use std::collections::hash_map::{DefaultHasher, RandomState};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;

use agent_model::cause::Cause;
use agent_model::event::{Endpoint, KernelEvent};
use agent_model::limits::{ENTRIES, Evicted, Limits, MAX_PENDING, RESET_GRACE};

use super::connection::Connection;
use super::observed::ConnectionId;
use super::owner::Owners;
use super::timeline::Room;

/// A living connection's rank is brought up to date when it is older than this, ns.
const RANK_STEP: u64 = 1_000_000_000;

/// A search by ends gives up after so many connections with the same ends in other namespaces or earlier lives.
const SAME_ENDS: usize = 16;

/// The connections.
#[derive(Debug)]
pub struct Table {
    limits: Limits,
    connections: HashMap<ConnectionId, Box<Connection>>,
    /// The last one at each address of a `struct sock`: a closed socket still has events.
    by_sk: HashMap<u64, ConnectionId>,
    /// All, by the hash of their two ends.
    by_ends: BTreeSet<(u64, ConnectionId)>,
    hasher: RandomState,
    /// The living ones, longest without an event first.
    idle: BTreeSet<(u64, ConnectionId)>,
    /// The dead, longest dead first.
    dead: VecDeque<(u64, ConnectionId)>,
    owners: Owners,
    /// Timeline entries of all of them.
    entries: usize,
    evicted: Evicted,
}

impl Table {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            connections: HashMap::new(),
            by_sk: HashMap::new(),
            by_ends: BTreeSet::new(),
            hasher: RandomState::new(),
            idle: BTreeSet::new(),
            dead: VecDeque::new(),
            owners: Owners::default(),
            entries: 0,
            evicted: Evicted::default(),
        }
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Connections above the new limits are forgotten at once.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.evict_living();
        let last = self.dead.back().map_or(0, |(died, _)| *died);
        self.evict_dead(last);
    }

    pub fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.get(&id).map(Box::as_ref)
    }

    /// The last connection of a socket at this address, living or dead.
    pub fn by_sk(&self, sk: u64) -> Option<&Connection> {
        self.by_sk.get(&sk).and_then(|id| self.get(*id))
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.connections.values().map(Box::as_ref)
    }

    pub fn live(&self) -> usize {
        self.idle.len()
    }

    pub fn dead(&self) -> usize {
        self.dead.len()
    }

    pub fn entries(&self) -> usize {
        self.entries
    }

    pub fn evicted(&self) -> Evicted {
        self.evicted
    }

    /// Connections with these two ends, the youngest names first, in any namespace.
    pub fn by_ends(&self, local: SocketAddr, remote: SocketAddr) -> impl Iterator<Item = &Connection> {
        let hash = self.hash(local, remote);
        let range = (hash, ConnectionId(0))..=(hash, ConnectionId(u64::MAX));
        let same = self.by_ends.range(range).rev().take(SAME_ENDS);
        same.filter_map(|(_, id)| self.get(*id))
            .filter(move |known| (known.identity.local(), known.identity.remote()) == (local, remote))
    }

    fn hash(&self, local: SocketAddr, remote: SocketAddr) -> u64 {
        self.hasher.hash_one((local, remote))
    }

    /// A name for a connection whose cookie is not known, the same in every replay.
    pub(super) fn made_id(endpoint: &Endpoint, time: u64) -> ConnectionId {
        let mut hasher = DefaultHasher::new();
        (endpoint.sk, endpoint.local, endpoint.remote, time).hash(&mut hasher);
        ConnectionId::made(hasher.finish())
    }

    /// Starts a story, or, if one of that name is known, continues it at the socket's new address.
    pub fn create(&mut self, endpoint: &Endpoint, time: u64) -> ConnectionId {
        let id = endpoint.cookie.map_or_else(|| Self::made_id(endpoint, time), ConnectionId);
        self.unlist(id);
        let new = || Box::new(Connection::new(id, endpoint, time));
        let connection = self.connections.entry(id).or_insert_with(new);
        connection.identity.sk = endpoint.sk.and_then(NonZero::new);
        self.list_living(id, time);
        self.reindex(id);
        self.evict_living();
        id
    }

    /// A closed socket connects again.
    pub fn revive(&mut self, id: ConnectionId, time: u64) {
        self.unlist(id);
        self.list_living(id, time);
        self.evict_living();
    }

    fn list_living(&mut self, id: ConnectionId, time: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        (connection.gone, connection.ranked) = (false, time);
        self.idle.insert((time, id));
        if let Some(sk) = connection.identity.sk {
            self.by_sk.insert(sk.get(), id);
        }
    }

    /// Takes a connection out of the list of the living, or of the dead.
    fn unlist(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id) else { return };
        if connection.gone {
            self.dead.retain(|(_, dead)| *dead != id);
        } else {
            self.idle.remove(&(connection.ranked, id));
        }
        self.free(connection.identity.sk.map(NonZero::get), id);
    }

    /// The address no longer names this connection.
    pub fn free(&mut self, sk: Option<u64>, id: ConnectionId) {
        if let Some(sk) = sk.filter(|sk| self.by_sk.get(sk) == Some(&id)) {
            self.by_sk.remove(&sk);
        }
    }

    /// Changes a connection by `change`, which returns by how much its timeline grew.
    pub fn change(&mut self, id: ConnectionId, change: impl FnOnce(&mut Connection, Room) -> isize) {
        let room = if self.entries < ENTRIES { Room::Ample } else { Room::Scarce };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (identity, owner) = (connection.identity, connection.owner.as_ref().map(Arc::as_ptr));
        let grown = change(connection, room);
        if owner != connection.owner.as_ref().map(Arc::as_ptr) {
            self.owners.share(&mut connection.owner);
        }
        self.entries = self.entries.saturating_add_signed(grown);
        if identity != connection.identity {
            self.reindex(id);
        }
        self.rerank(id);
    }

    /// Sets the name that both hosts know it by, once its counters allow to compute it.
    pub fn name(&mut self, id: ConnectionId, event: &KernelEvent) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.name(event);
        }
    }

    /// Keeps why it died.
    pub fn judge(&mut self, id: ConnectionId, cause: Cause) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.verdict = Some(cause);
        }
    }

    /// Changes every living connection.
    pub fn change_living(&mut self, change: impl Fn(&mut Connection)) {
        for (_, id) in &self.idle {
            if let Some(connection) = self.connections.get_mut(id) {
                change(connection);
            }
        }
    }

    fn reindex(&mut self, id: ConnectionId) {
        let Some(identity) = self.get(id).map(|known| known.identity) else { return };
        let hash = self.hash(identity.local(), identity.remote());
        if let Some(connection) = self.connections.get_mut(&id) {
            self.by_ends.remove(&(connection.ends, id));
            connection.ends = hash;
            self.by_ends.insert((hash, id));
        }
    }

    fn rerank(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.last.saturating_sub(connection.ranked) >= RANK_STEP
            && self.idle.remove(&(connection.ranked, id))
        {
            connection.ranked = connection.last;
            self.idle.insert((connection.ranked, id));
        }
    }

    /// Moves a connection that ended into the history. Its address names it until another takes it.
    pub fn retire(&mut self, id: ConnectionId, time: u64) {
        let Some(connection) = self.connections.get_mut(&id).filter(|known| !known.gone) else { return };
        self.idle.remove(&(connection.ranked, id));
        connection.gone = true;
        connection.die(time);
        self.dead.push_back((time, id));
        self.evict_dead(time);
    }

    fn evict_dead(&mut self, now: u64) {
        while self.dead.len() > self.limits.history && self.is_judged(now) {
            self.evicted.history += 1;
            self.forget_longest_dead();
        }
    }

    /// Whether the longest dead was judged at `now`, or never will be; while deaths come by the thousand, the
    /// history waits for that.
    fn is_judged(&self, now: u64) -> bool {
        let Some((died, id)) = self.dead.front() else { return false };
        let waits =
            died.saturating_add(RESET_GRACE) > now && self.dead.len() < self.limits.history + MAX_PENDING;
        !waits || self.get(*id).is_none_or(|known| known.verdict.is_some())
    }

    /// Forgets what is too old at `now`.
    pub fn expire(&mut self, now: u64) {
        let age = self.limits.history_age.as_nanos() as u64;
        while self.dead.front().is_some_and(|(time, _)| time.saturating_add(age) < now) {
            self.forget_longest_dead();
        }
        while self.idle.first().is_some_and(|(time, _)| time.saturating_add(age) < now) {
            self.forget_longest_idle();
        }
    }

    /// Forgets a living connection of which there is nothing to remember.
    pub fn leave(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get(&id).filter(|connection| connection.is_live()) {
            self.idle.remove(&(connection.ranked, id));
            self.forget(id);
        }
    }

    fn evict_living(&mut self) {
        while self.idle.len() > self.limits.connections {
            self.evicted.connections += 1;
            self.forget_longest_idle();
        }
    }

    fn forget_longest_dead(&mut self) {
        if let Some((_, id)) = self.dead.pop_front() {
            self.forget(id);
        }
    }

    fn forget_longest_idle(&mut self) {
        if let Some((_, id)) = self.idle.pop_first() {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.remove(&id) {
            self.by_ends.remove(&(connection.ends, id));
            self.free(connection.identity.sk.map(NonZero::get), id);
            self.entries -= connection.timeline.len();
        }
    }
}
