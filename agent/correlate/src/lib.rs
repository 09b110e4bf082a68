//! Ties events to connections, connections to processes and listeners.
//!
//! Pure: time comes from events alone, so a recording gives what the live run gave. A connection is made
//! at its first trouble and lives until an event ends it, or until another socket is seen at its address; then it
//! moves to the history, where late events find it by its cookie or its two ends. Listeners are known
//! from the start (the walk over open files) and from `listen()`. Everything is bounded (`limits`).

pub mod connection;
mod drop_counts;
mod drops;
mod failures;
pub mod families;
pub mod holders;
mod host;
pub mod identity;
pub mod lineage;
pub mod listeners;
pub mod observed;
pub mod orphans;
mod owner;
mod packed;
pub mod place;
pub mod query;
mod requests;
pub mod shared;
mod sought;
mod stage;
mod state;
pub mod strays;
mod table;
pub mod timeline;
pub mod walks;

use agent_model::event::{Detail, Endpoint, Event, Fact, KernelEvent, Owner, SockHeld, TcpState};
use agent_model::limits::{Evicted, Limits};
use agent_model::signals::SynackRetransmit;
use agent_model::timers::{Outlook, Request, half_open_outlook};

use self::connection::Connection;
use self::drop_counts::DropCounts;
use self::drops::Drops;
use self::failures::Failures;
use self::families::Families;
use self::host::Host;
pub use self::host::Stacks;
use self::listeners::{Listeners, Listening};
use self::observed::{ConnectionId, Observed};
use self::orphans::Orphans;
use self::place::{Place, Places};
pub use self::requests::Request as HalfOpen;
use self::requests::Requests;
use self::sought::Sought;
use self::strays::Strays;
use self::table::Table;
use self::walks::Walks;

#[cfg(test)]
mod tests;

/// IP protocol number of TCP.
const IPPROTO_TCP: u8 = 6;

/// How long after its last event a reset is still attributed to a dead connection, ns: the peer's
/// slowest retransmission (`TCP_RTO_MAX`), which is longer than `TIME_WAIT` (60 s).
const LATE_SEGMENTS: u64 = stage::RTO_MAX.as_nanos() as u64;

/// All that is remembered.
#[derive(Debug)]
pub struct Correlator {
    table: Table,
    listeners: Listeners,
    requests: Requests,
    walks: Walks,
    families: Families,
    orphans: Orphans,
    host: Host,
    places: Places,
    strays: Strays,
    failures: Failures,
    drops: Drops,
    drop_counts: DropCounts,
    sought: Sought,
    /// The connection of the last socket that a walk found.
    held: Option<ConnectionId>,
}

impl Correlator {
    /// Nothing is known yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            table: Table::new(limits),
            listeners: Listeners::default(),
            requests: Requests::default(),
            walks: Walks::default(),
            families: Families::default(),
            orphans: Orphans::default(),
            host: Host::default(),
            places: Places::new(limits.history_age),
            strays: Strays::default(),
            failures: Failures::default(),
            drops: Drops::default(),
            drop_counts: DropCounts::default(),
            sought: Sought::default(),
            held: None,
        }
    }

    /// Takes in one event. Kernel events come back with all that is known about them.
    pub fn apply(&mut self, event: Event) -> Option<Observed> {
        match event {
            Event::Kernel(event) => Some(self.kernel(*event)),
            Event::SockHeld(held) => {
                self.held(&held);
                None
            }
            Event::Fact(fact) => {
                self.fact(fact);
                None
            }
        }
    }

    /// From when on a walk over open files would find something that is missing: the owner of a connection,
    /// or what became of a stall. Ns of `CLOCK_MONOTONIC`; `None` while nothing is missing.
    pub fn walk_due(&self) -> Option<u64> {
        self.walks.due()
    }

    /// Whether that time has come.
    pub fn wants_walk(&self, now: u64) -> bool {
        self.walk_due().is_some_and(|due| due <= now)
    }

    /// What was forgotten for want of space.
    pub fn evicted(&self) -> Evicted {
        let Evicted { connections, history, .. } = self.table.evicted();
        Evicted {
            connections,
            history,
            listeners: self.listeners.evicted(),
            requests: self.requests.evicted(),
            stacks: self.host.evicted_stacks(),
            wants: self.walks.evicted(),
            families: self.families.left_out(),
            places: self.places.evicted(),
        }
    }

    fn fact(&mut self, fact: Fact) {
        match fact {
            Fact::Host(facts) => self.host.set_facts(facts),
            Fact::Clock { offset } => self.host.set_clock(offset),
            Fact::Stack { id, frames } => self.host.add_stack(id, frames),
            Fact::Processes { time: _, rows, uncounted } => self.families.processes(rows, uncounted),
            Fact::Usage(usage) => {
                self.families.walked(usage.walk);
                self.host.set_usage(usage);
            }
            Fact::Settings(settings) => self.host.set_settings(settings),
            Fact::WalkDone { time } => self.end_walk(time),
            Fact::TcpMemory(memory) => self.host.set_tcp_memory(memory),
            Fact::CgroupMemory(memory) => self.host.set_cgroup_memory(memory),
            Fact::Limits(limits) => {
                let limits = limits.bounded();
                self.table.set_limits(limits);
                self.places.set_keep(limits.history_age);
            }
            Fact::Cgroup { id, path } => self.places.add_cgroup(id, &path),
            Fact::CgroupGone { id, time } => self.places.end_cgroup(id, time),
            Fact::Pod(pod) => self.places.add_pod(pod),
            Fact::PodGone { uid, time } => self.places.end_pod(&uid, time),
            // The pipeline handles these: it judges what waited, counts losses and reports gaps, and the
            // totals in later records make up for a lost one. Counters are for metrics.
            Fact::Lost { signal, .. } | Fact::Coalesced { signal, .. } => self.untold(&signal),
            Fact::Settle { .. } | Fact::Counts { .. } => (),
        }
    }

    fn end_walk(&mut self, time: u64) {
        self.host.walked(time);
        let walk = self.walks.end(time);
        self.listeners.end_walk(walk);
        self.families.end_walk(time);
        self.table.change_living(|connection| connection.end_walk(walk));
        self.table.expire(time);
        self.requests.expire(time);
        self.places.expire(time);
        self.end_search();
    }

    fn held(&mut self, held: &SockHeld) {
        let walk = self.walks.found(held.time);
        self.families.held(held);
        self.held = None;
        self.places.learn(&held.endpoint);
        if held.endpoint.state == Some(TcpState::Listen) {
            self.listeners.absorb_holder(held, walk);
        } else if let Some(id) = self.holder_connection(held) {
            self.table.change(id, |connection, room| connection.absorb_holder(held, walk, room));
            self.accept(id, &held.endpoint);
            self.ask_for_walk(id, Some(held.time));
            self.held = Some(id);
        }
    }

    fn kernel(&mut self, event: KernelEvent) -> Observed {
        self.host.saw(event.time);
        self.table.expire(event.time);
        self.places.learn(&event.endpoint);
        if event.endpoint.protocol == IPPROTO_TCP {
            self.listeners.follow(&event);
        }
        if self.is_drop_on_the_way(&event) {
            return self.dropped(event);
        }
        let stage = event.signal().stage(&event);
        let connection = self.connection(&event);
        if let Some(id) = connection {
            self.join_drops(id, &event);
            self.table.change(id, |connection, room| connection.absorb(&event, stage, room));
            self.accept(id, &event.endpoint);
            self.table.name(id, &event);
            self.settle(id, &event);
            self.ask_for_walk(id, None);
        }
        let observed = self.observe(event, connection, stage);
        self.requests.follow(&observed);
        self.strays.follow(&observed);
        observed
    }

    /// The connection of an event. `None` for listeners, half-open connections, strays and other protocols.
    fn connection(&mut self, event: &KernelEvent) -> Option<ConnectionId> {
        let endpoint = &event.endpoint;
        if endpoint.protocol != IPPROTO_TCP || is_of_listener(event) {
            return None;
        }
        if endpoint.time_wait || endpoint.sk.is_none() {
            return self.late(endpoint, event.time);
        }
        let sk = endpoint.sk?;
        let known = if endpoint.request {
            self.fast_open(sk, endpoint)
        } else {
            self.socket(sk, endpoint, event.time)
        };
        known.or_else(|| is_news(event).then(|| self.table.create(endpoint, event.time)))
    }

    /// A half-open connection's socket is its listener, or with TCP Fast Open the connection itself.
    fn fast_open(&self, sk: u64, endpoint: &Endpoint) -> Option<ConnectionId> {
        let known = self.table.by_sk(sk).filter(|known| !known.gone)?;
        (known.id.cookie() == endpoint.cookie).then_some(known.id)
    }

    /// The connection at this address, unless the address was given to another socket meanwhile: that
    /// proves that the first one ended, though no event said so.
    fn socket(&mut self, sk: u64, endpoint: &Endpoint, time: u64) -> Option<ConnectionId> {
        let known = self.table.by_sk(sk)?;
        let id = known.id;
        if is_same_socket(known, endpoint) {
            return Some(id);
        }
        self.walks.withdraw(id);
        self.table.retire(id, time);
        None
    }

    /// The connection that a segment without a socket came late for. A `TIME_WAIT` socket proves that there
    /// was one, even if it had no trouble until now.
    fn late(&mut self, endpoint: &Endpoint, time: u64) -> Option<ConnectionId> {
        let known = self.recent(endpoint, time);
        known.or_else(|| {
            let story =
                endpoint.time_wait.then(|| self.table.create(&Endpoint { sk: None, ..*endpoint }, time));
            story.inspect(|id| self.table.retire(*id, time))
        })
    }

    fn recent(&self, endpoint: &Endpoint, time: u64) -> Option<ConnectionId> {
        let recent = |known: &Connection| time.saturating_sub(known.last) < LATE_SEGMENTS;
        let mut same_ends = self.table.by_ends(endpoint.local, endpoint.remote);
        same_ends.find(|known| known.identity.netns == endpoint.netns && recent(known)).map(|known| known.id)
    }

    /// Gives an accepted connection its listener's process, until a better owner is known.
    fn accept(&mut self, id: ConnectionId, endpoint: &Endpoint) {
        let Some(listener) = self.listeners.find(endpoint).cloned() else { return };
        self.table.change(id, |connection, _| {
            connection.accepted_by(listener.owner.as_deref());
            0
        });
    }

    /// Moves the connection to where it belongs after the event. No second event follows an end, so there is
    /// nothing to wait for; but a closed socket can connect again.
    fn settle(&mut self, id: ConnectionId, event: &KernelEvent) {
        let Some(connection) = self.table.get(id) else { return };
        match (connection.died().is_some(), connection.gone) {
            (true, false) => {
                self.failures.ended(connection);
                self.table.retire(id, event.time);
            }
            (false, true) => self.table.revive(id, event.time),
            (true, true) | (false, false) => (),
        }
        if matches!(event.detail, Detail::SockDestroyed(_)) {
            self.table.free(event.endpoint.sk, id);
        }
    }

    fn ask_for_walk(&mut self, id: ConnectionId, held: Option<u64>) {
        if let Some(connection) = self.table.get(id) {
            self.walks.ask(connection, held, self.host.facts());
        }
    }

    fn observe(&self, event: KernelEvent, id: Option<ConnectionId>, stage: Option<u32>) -> Observed {
        let listener = self.listening(&event);
        let rto_max = listener.somebody().and_then(|listener| listener.rto_max());
        Observed {
            realtime: self.host.realtime(event.time),
            connection: id,
            owner: self.owner(&event, id, &listener),
            place: self.place_of_event(&event.endpoint, id),
            reason: self.host.reason(&event),
            stack: self.host.stack_of(&event),
            rto: stage::rto(&event, self.host.facts().hz, rto_max),
            stage,
            outlook: self.half_open_outlook(&event, &listener),
            sender: None,
            listener,
            event,
        }
    }

    /// What comes for a half-open connection whose SYN-ACK was sent again, as its listener's socket has it.
    fn half_open_outlook(&self, event: &KernelEvent, listener: &Listening) -> Option<Outlook> {
        let Detail::SynackRetransmit(synack) = event.detail else { return None };
        let SynackRetransmit { timeouts, duplicate_syn, syn_queue, backlog, .. } = synack;
        let (seen, tcp) = listener.somebody()?.seen.as_ref()?;
        let hz = self.host.facts().hz;
        let request = Request { timeouts, syn_queue, backlog, duplicate_syn };
        (hz > 0).then(|| half_open_outlook(tcp, *seen, event.time, hz, &request))
    }

    /// A segment without a socket is of the connection that it came late for, or of the namespace's tenant.
    fn place_of_event(&self, endpoint: &Endpoint, id: Option<ConnectionId>) -> Place {
        let known = id.and_then(|id| self.table.get(id)).and_then(|known| known.identity.cgroup);
        self.places.place(endpoint.cgroup.or(known.map(Into::into)), endpoint.netns)
    }

    fn listening(&self, event: &KernelEvent) -> Listening {
        let tcp = event.endpoint.protocol == IPPROTO_TCP;
        match self.listeners.find(&event.endpoint).filter(|_| tcp) {
            Some(listener) => Listening::Somebody(listener.clone()),
            None if tcp && self.walks.any_done() => Listening::Nobody,
            None => Listening::Unknown,
        }
    }

    fn owner(&self, event: &KernelEvent, id: Option<ConnectionId>, listener: &Listening) -> Option<Owner> {
        if let Some(connection) = id.and_then(|id| self.table.get(id)) {
            return connection.owner.as_deref().cloned();
        }
        if !event.endpoint.request {
            return event.owner.clone().or_else(|| owner::believed(event));
        }
        let listens = listener.somebody().and_then(|listener| listener.owner.as_deref());
        event.owner.as_ref().or(listens).map(owner::as_listener)
    }
}

/// A listener's own event; half-open connections are not meant.
fn is_of_listener(event: &KernelEvent) -> bool {
    !event.endpoint.request && event.signal().is_of_listener(event)
}

/// Whether a story begins with this event.
fn is_news(event: &KernelEvent) -> bool {
    let is_seen = event.tcp.is_some() && !event.endpoint.request;
    event.signal().is_news(event, is_seen)
}

/// Whether the address still names the socket that it named. Without cookies (before 5.12) by its ends.
fn is_same_socket(known: &Connection, seen: &Endpoint) -> bool {
    if let Some((known, seen)) = known.id.cookie().zip(seen.cookie) {
        return known == seen;
    }
    let same_peer = known.identity.remote() == seen.remote || seen.remote.port() == 0;
    let same_life = if known.is_live() { same_peer } else { seen.state == Some(TcpState::Close) };
    known.identity.netns == seen.netns && same_life
}
