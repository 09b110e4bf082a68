//! Who waits for connections on which address and port.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use agent_model::event::{Detail, Endpoint, KernelEvent, Owner, OwnerSource, SockHeld, Tcp, TcpState};
use agent_model::limits::LISTENERS;
use agent_model::signals::{StateChanged, SynackRetransmit};

use super::holders::Holders;
use super::owner;

/// A listening socket.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its identity; `local` may be the wildcard address.
    pub endpoint: Endpoint,
    /// First seen, ns of `CLOCK_MONOTONIC`.
    pub first: u64,
    /// Last seen, likewise.
    pub last: u64,
    /// Who listens.
    pub owner: Option<Arc<Owner>>,
    /// Processes that have it open.
    pub holders: Holders,
    /// Connections waiting for accept, at `last`.
    pub accept_queue: u32,
    /// Half-open connections, at the last SYN-ACK sent again.
    pub syn_queue: u32,
    /// Limit of the accept queue: the backlog of `listen()`, at most somaxconn.
    pub backlog: u32,
    /// What its socket was when it was read last, and when that was, ns of `CLOCK_MONOTONIC`.
    pub seen: Option<(u64, Arc<Tcp>)>,
    /// SYN-ACKs sent again.
    pub synack_retransmits: u64,
    /// Resets sent in its name, to half-open connections and to strays.
    pub resets_sent: u64,
}

impl Listener {
    fn new(endpoint: &Endpoint, time: u64) -> Self {
        Self {
            endpoint: *endpoint,
            first: time,
            last: time,
            owner: None,
            holders: Holders::default(),
            accept_queue: 0,
            syn_queue: 0,
            backlog: 0,
            seen: None,
            synack_retransmits: 0,
            resets_sent: 0,
        }
    }

    /// `icsk_rto_max`, jiffies, which its connections inherit; `None` before 6.15 or if not yet seen.
    pub fn rto_max(&self) -> Option<u32> {
        self.seen.as_ref().and_then(|(_, tcp)| tcp.rto_max())
    }

    fn learn(&mut self, owners: impl IntoIterator<Item = Owner>) {
        for owner in owners {
            owner::learn(&mut self.owner, &owner);
        }
    }

    /// Takes in an event of a half-open connection.
    fn absorb_request(&mut self, event: &KernelEvent) {
        let events = u64::from(event.stands_for);
        self.last = self.last.max(event.time);
        self.learn(event.owner.clone());
        if let Detail::SynackRetransmit(synack) = event.detail {
            self.synack_retransmits += events;
            let SynackRetransmit { syn_queue, accept_queue, backlog, .. } = synack;
            (self.syn_queue, self.accept_queue, self.backlog) = (syn_queue, accept_queue, backlog);
        }
        if let Detail::ResetSent(_) = event.detail {
            self.resets_sent += events;
        }
    }
}

/// Whether somebody listens on a local address and port.
#[derive(Clone, Debug)]
pub enum Listening {
    /// No listener is known, and no walk over open files has completed that would have found one.
    Unknown,
    /// Nobody.
    Nobody,
    /// This listener; of several (`SO_REUSEPORT`) one.
    Somebody(Arc<Listener>),
}

impl Listening {
    /// Whether there is one; `None` if that is not known.
    pub fn is_somebody(&self) -> Option<bool> {
        match self {
            Self::Unknown => None,
            Self::Nobody => Some(false),
            Self::Somebody(_) => Some(true),
        }
    }

    /// The listener, if there is one.
    pub fn somebody(&self) -> Option<&Arc<Listener>> {
        match self {
            Self::Unknown | Self::Nobody => None,
            Self::Somebody(listener) => Some(listener),
        }
    }
}

/// The listeners.
#[derive(Debug, Default)]
pub struct Listeners {
    by_sk: HashMap<u64, Arc<Listener>>,
    /// (port, network namespace, address of the `struct sock`)
    by_port: BTreeSet<(u16, u32, u64)>,
    evicted: u64,
}

impl Listeners {
    /// All, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Listener> {
        self.by_sk.values().map(Arc::as_ref)
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.by_sk.len()
    }

    /// Forgotten for want of space.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The listener of a half-open connection, or of a local address and port: the exact address before
    /// the wildcard, and `::` takes IPv4 too (`IPV6_V6ONLY` does not show).
    pub fn find(&self, endpoint: &Endpoint) -> Option<&Arc<Listener>> {
        let by_sk = endpoint.sk.filter(|_| endpoint.request).and_then(|sk| self.by_sk.get(&sk));
        by_sk.or_else(|| self.on(endpoint.netns, endpoint.local))
    }

    /// The listener on a local address and port.
    pub fn on(&self, netns: u32, local: SocketAddr) -> Option<&Arc<Listener>> {
        let range = (local.port(), netns, 0)..=(local.port(), netns, u64::MAX);
        let candidates = self.by_port.range(range).filter_map(|(_, _, sk)| self.by_sk.get(sk));
        candidates
            .filter(|listener| fits(listener.endpoint.local, local))
            .min_by_key(|listener| listener.endpoint.local.ip().is_unspecified())
    }

    /// The listeners bound to exactly this address and port, in any network namespace: with `SO_REUSEPORT` there are
    /// several. A wildcard listener is none of them: whose addresses a namespace has is not known.
    pub fn bound_to(&self, address: SocketAddr) -> impl Iterator<Item = &Arc<Listener>> {
        let range = (address.port(), 0, 0)..=(address.port(), u32::MAX, u64::MAX);
        let same_port = self.by_port.range(range).filter_map(|(_, _, sk)| self.by_sk.get(sk));
        same_port.filter(move |listener| listener.endpoint.local == address)
    }

    /// Follows `listen()` and `close()`, and counts what happens to half-open connections.
    pub fn follow(&mut self, event: &KernelEvent) {
        let Some(sk) = event.endpoint.sk else { return };
        if event.endpoint.request {
            if let Some(listener) = self.by_sk.get_mut(&sk) {
                Arc::make_mut(listener).absorb_request(event);
            }
            return;
        }
        if let Detail::StateChanged(StateChanged { new: TcpState::Listen, accept_queue, backlog, .. }) =
            event.detail
        {
            let listener = self.touch(&event.endpoint, sk, event.time);
            listener.learn(event.owner.clone().into_iter().chain(owner::believed(event)));
            (listener.accept_queue, listener.backlog) = (accept_queue, backlog);
            listener.seen = event.tcp.map(|tcp| (event.time, Arc::new(tcp)));
        } else if stopped_listening(event) {
            self.remove(sk);
        }
    }

    /// Takes in a listener that a walk found.
    pub fn absorb_holder(&mut self, held: &SockHeld, walk: u32) {
        let Some(sk) = held.endpoint.sk else { return };
        let listener = self.touch(&held.endpoint, sk, held.time);
        listener.holders.add(held, walk);
        let holder = Owner { process: held.holder.clone(), source: OwnerSource::File };
        listener.learn(held.owner.clone().into_iter().chain([holder]));
        (listener.accept_queue, listener.backlog) = (held.accept_queue, held.backlog);
        listener.seen = Some((held.time, Arc::new(held.tcp)));
    }

    fn touch(&mut self, endpoint: &Endpoint, sk: u64, time: u64) -> &mut Listener {
        if self.by_sk.get(&sk).is_some_and(|known| !is_same(&known.endpoint, endpoint)) {
            self.remove(sk);
        }
        if !self.by_sk.contains_key(&sk) {
            self.make_room();
            self.by_port.insert((endpoint.local.port(), endpoint.netns, sk));
        }
        let listener = self.by_sk.entry(sk).or_insert_with(|| Arc::new(Listener::new(endpoint, time)));
        let listener = Arc::make_mut(listener);
        listener.last = listener.last.max(time);
        listener
    }

    fn make_room(&mut self) {
        if self.by_sk.len() < LISTENERS {
            return;
        }
        if let Some((&sk, _)) = self.by_sk.iter().min_by_key(|(_, listener)| listener.last) {
            self.evicted += 1;
            self.remove(sk);
        }
    }

    /// Forgets the listener at this address.
    pub fn remove(&mut self, sk: u64) {
        if let Some(listener) = self.by_sk.remove(&sk) {
            let Endpoint { netns, local, .. } = listener.endpoint;
            self.by_port.remove(&(local.port(), netns, sk));
        }
    }

    /// Forgets listeners that a process once had open and none has any more. No process has the kernel's own
    /// (nfsd) open, so they stay.
    pub fn end_walk(&mut self, walk: u32) {
        let mut gone = Vec::new();
        for (sk, listener) in &mut self.by_sk {
            if !listener.holders.named().is_empty() {
                let listener = Arc::make_mut(listener);
                listener.holders.end_walk(walk);
                gone.extend(listener.holders.named().is_empty().then_some(*sk));
            }
        }
        for sk in gone {
            self.remove(sk);
        }
    }
}

/// `close()`, or the address now belongs to a socket that does not listen.
fn stopped_listening(event: &KernelEvent) -> bool {
    let closed = matches!(event.detail, Detail::StateChanged(StateChanged { new: TcpState::Close, .. }));
    closed || event.endpoint.state != Some(TcpState::Listen)
}

/// Whether a listener takes connections to a local address; ports aside.
pub(super) fn fits(listener: SocketAddr, local: SocketAddr) -> bool {
    let (listener, local) = (listener.ip(), local.ip());
    listener == local || (listener.is_unspecified() && (listener.is_ipv6() || local.is_ipv4()))
}

fn is_same(known: &Endpoint, seen: &Endpoint) -> bool {
    let ends = |endpoint: &Endpoint| (endpoint.netns, endpoint.local);
    ends(known) == ends(seen) && known.cookie.zip(seen.cookie).is_none_or(|(known, seen)| known == seen)
}
