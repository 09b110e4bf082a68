//! Questions to what is remembered. Connections are lent: read, not changed.

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use agent_model::cause::Cause;
use agent_model::drops::{self, Class};
use agent_model::event::{CgroupMemory, Endpoint, HostFacts, Process, Settings, TcpMemory, Usage};
use agent_model::limits::Limits;

use super::connection::Connection;
use super::families::{Families, ProcessFamily};
use super::identity::Identity;
use super::listeners::{Listener, Listening};
use super::observed::ConnectionId;
use super::orphans::Orphans;
use super::place::{Place, Places};
use super::shared::SharedId;
use super::{Correlator, HalfOpen, LATE_SEGMENTS};

/// One condition on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Its name.
    Id(ConnectionId),
    /// What both of its hosts call it.
    Shared(SharedId),
    /// Address and port of either end.
    End(SocketAddr),
    /// The address of either end.
    Address(IpAddr),
    /// The port of either end.
    Port(u16),
    /// Its network namespace.
    Netns(u32),
    /// Process id of its owner, of a holder, or of who ended it.
    Pid(u32),
    /// Name of any of these.
    Comm(Box<str>),
}

impl Selector {
    /// Whether the connection meets the condition.
    pub fn matches(&self, connection: &Connection) -> bool {
        let ends = [connection.identity.local(), connection.identity.remote()];
        match self {
            Self::Id(id) => connection.id == *id,
            Self::Shared(id) => connection.initials.is_some_and(|initials| initials.id() == *id),
            Self::End(end) => ends.contains(end),
            Self::Address(address) => ends.iter().any(|end| end.ip() == *address),
            Self::Port(port) => ends.iter().any(|end| end.port() == *port),
            Self::Netns(netns) => connection.identity.netns == *netns,
            Self::Pid(pid) => connection.processes().any(|process| process.pid == *pid),
            Self::Comm(comm) => connection.processes().any(|process| process.comm == *comm),
        }
    }
}

impl Connection {
    /// Every process that is known to use it: its owner, the one that ended it, its holders.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        let owner = self.owner.as_ref().map(|owner| &owner.process);
        let holders = self.holders.named().iter().map(|holder| &holder.process);
        owner.into_iter().chain(self.ended_by.as_deref()).chain(holders)
    }
}

/// How much is remembered now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Living connections.
    pub connections: usize,
    /// Dead ones.
    pub history: usize,
    /// Listeners.
    pub listeners: usize,
    /// Entries of all timelines.
    pub entries: usize,
}

impl Correlator {
    /// How much is remembered at most.
    pub fn limits(&self) -> Limits {
        self.table.limits()
    }

    /// The connection of that name.
    pub fn connection_by_id(&self, id: ConnectionId) -> Option<&Connection> {
        self.table.get(id)
    }

    /// All connections, living and dead, in no order.
    pub fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.table.iter()
    }

    /// The half-open connection of that name.
    pub fn half_open(&self, id: ConnectionId) -> Option<&HalfOpen> {
        self.requests.iter().find(|request| request.connection.id == id)
    }

    /// Those that meet all conditions, half-open ones too, last event first.
    pub fn select(&self, conditions: &[Selector]) -> Vec<&Connection> {
        let meets = |connection: &&Connection| conditions.iter().all(|one| one.matches(connection));
        let half_open = self.requests.iter().map(|request| &request.connection);
        let mut found: Vec<_> = self.connections().chain(half_open).filter(meets).collect();
        found.sort_unstable_by_key(|connection| Reverse((connection.last, connection.id)));
        found
    }

    /// The one with the last event.
    pub fn last(&self) -> Option<&Connection> {
        self.connections().max_by_key(|connection| (connection.last, connection.id))
    }

    /// Living connections whose peer does not answer.
    pub fn stalled(&self) -> impl Iterator<Item = &Connection> {
        self.connections().filter(|connection| connection.is_stalled())
    }

    /// The other end of a connection, if it lives on this host: in the same network namespace (loopback),
    /// else in any.
    pub fn peer(&self, connection: &Connection) -> Option<&Connection> {
        let Identity { netns, .. } = connection.identity;
        let peers = self.table.by_ends(connection.identity.remote(), connection.identity.local());
        peers.min_by_key(|peer| peer.identity.netns != netns)
    }

    /// The other end of a connection that lives, or lived until just now, on this host. Loopback addresses
    /// mean each namespace's own.
    pub fn other_end(&self, connection: &Connection) -> Option<&Connection> {
        let identity = &connection.identity;
        let loopback = identity.local().ip().is_loopback();
        let mut others = self.table.by_ends(identity.remote(), identity.local());
        others.find(|peer| {
            peer.id != connection.id
                && is_near(peer, connection.last)
                && (!loopback || peer.identity.netns == identity.netns)
        })
    }

    /// The connection of this host that sent the segment with which `endpoint` was met at `time`.
    pub fn sender(&self, endpoint: &Endpoint, time: u64) -> Option<&Connection> {
        self.table.by_ends(endpoint.remote, endpoint.local).find(|peer| is_near(peer, time))
    }

    /// Who listens where the connection was accepted.
    pub fn listening_for(&self, connection: &Connection) -> Listening {
        let identity = &connection.identity;
        match self.listeners.on(identity.netns, identity.local()).filter(|_| connection.accepted) {
            Some(listener) => Listening::Somebody(listener.clone()),
            None => Listening::Unknown,
        }
    }

    /// Who of this host listens where a connection was made to; on a loopback address, of its own network namespace.
    pub fn listeners_there(&self, connection: &Connection) -> Vec<&Arc<Listener>> {
        let Identity { netns, .. } = connection.identity;
        let remote = connection.identity.remote();
        let is_there =
            |listener: &&Arc<Listener>| !remote.ip().is_loopback() || listener.endpoint.netns == netns;
        self.listeners.bound_to(remote).filter(is_there).collect()
    }

    /// Whose closed sockets were reset for want of memory.
    pub fn orphans(&self) -> &Orphans {
        &self.orphans
    }

    /// The newest state of a cgroup's memory.
    pub fn cgroup_memory(&self, cgroup: u64) -> Option<&CgroupMemory> {
        self.host.cgroup_memory(cgroup)
    }

    /// Keeps why a connection died.
    pub fn judge(&mut self, id: ConnectionId, cause: Cause) {
        self.table.judge(id, cause);
        if let Some(connection) = self.table.get(id).filter(|_| cause == Cause::TooManyOrphans) {
            self.orphans.add(connection, &self.place(connection));
        }
    }

    /// Memory of the cgroups with the most socket memory, as the last walk over open files found them.
    pub fn cgroups(&self) -> impl Iterator<Item = &CgroupMemory> {
        self.host.cgroups()
    }

    /// Where a connection lives, or lived.
    pub fn place(&self, connection: &Connection) -> Place {
        let Identity { cgroup, netns, .. } = connection.identity;
        self.places.place(cgroup.map(Into::into), netns)
    }

    /// Cgroups, pods and network namespaces.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// The connection of the last socket that a walk found.
    pub fn last_holder(&self) -> Option<ConnectionId> {
        self.held
    }

    /// The listener on a local address and port.
    pub fn listener(&self, netns: u32, local: SocketAddr) -> Option<&Listener> {
        self.listeners.on(netns, local).map(|listener| &**listener)
    }

    /// All known listeners, in no order.
    pub fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.iter()
    }

    /// The newest settings of the agent's network namespace.
    pub fn settings(&self) -> Option<&Settings> {
        self.host.settings()
    }

    /// The newest counts of the host's tasks and files.
    pub fn usage(&self) -> Option<&Usage> {
        self.host.usage()
    }

    /// Times of the first and the last event, ns of `CLOCK_MONOTONIC`.
    pub fn span(&self) -> Option<(u64, u64)> {
        self.host.span()
    }

    /// Process families, as the last walk found them.
    pub fn families(&self) -> &Families {
        &self.families
    }

    /// The family of a connection: of who has to do with it, or of who listens for it.
    pub fn family_of(&self, connection: &Connection) -> Option<&ProcessFamily> {
        let own = || connection.processes().find_map(|process| self.families.of(process.pid));
        let Identity { netns, .. } = connection.identity;
        let listener = self.listeners.on(netns, connection.identity.local()).filter(|_| connection.accepted);
        let owner = listener.and_then(|listener| listener.owner.as_ref());
        let holders = listener.into_iter().flat_map(|listener| listener.holders.named());
        let pids =
            owner.map(|owner| owner.process.pid).into_iter().chain(holders.map(|holder| holder.process.pid));
        pids.into_iter().find_map(|pid| self.families.of(pid)).or_else(own)
    }

    /// What does not change while the agent runs.
    pub fn host(&self) -> &HostFacts {
        self.host.facts()
    }

    /// The newest state of TCP's memory on this host.
    pub fn tcp_memory(&self) -> Option<&TcpMemory> {
        self.host.tcp_memory()
    }

    /// Wall clock at `time` of the monotonic clock, ns since 1970 UTC.
    pub fn realtime(&self, time: u64) -> i64 {
        self.host.realtime(time)
    }

    /// The kernel stacks that are known.
    pub fn stacks(&self) -> &super::Stacks {
        self.host.stacks()
    }

    /// Functions of the kernel stack with this id, innermost first; none if it is not known.
    pub fn stack(&self, id: Option<i32>) -> Arc<[Box<str>]> {
        self.host.stack(id)
    }

    /// Packets that this host dropped, by network namespace and by the kernel's name of the reason.
    pub fn drops_by_reason(&self) -> impl Iterator<Item = (u32, &str, u64)> {
        let name = |reason: u32| Some(&**self.host.facts().drop_reasons.get(&reason.cast_signed())?);
        self.drop_counts
            .iter()
            .filter_map(move |(netns, reason, packets)| Some((netns, name(reason)?, packets)))
    }

    /// Whether each drop of a packet since `time` was told with whose it was, on a kernel that tells of drops.
    pub fn tells_drops_since(&self, time: u64) -> bool {
        let names = &self.host.facts().drop_reasons;
        let tells = names.values().any(|name| drops::class(name) == Class::Netfilter);
        tells && self.drops.untold.is_none_or(|untold| untold < time)
    }

    /// How much is remembered now.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            connections: self.table.live(),
            history: self.table.dead(),
            listeners: self.listeners.count(),
            entries: self.table.entries(),
        }
    }
}

/// Whether its last event is at most a slowest retransmission away.
fn is_near(peer: &Connection, time: u64) -> bool {
    peer.last.abs_diff(time) < LATE_SEGMENTS
}
