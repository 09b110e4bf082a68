//! Dropped packets and the connections whose they are.
//!
//! A packet names its connection by the socket that sent it or is to receive it, else by its two ends, in whichever
//! network namespace of this host it died; and where an address was translated on the way, by its sequence number.
//! It is dropped before its sender notices: those of connections that have had no trouble wait for it.

use std::collections::{HashMap, VecDeque, hash_map};
use std::hash::Hash;
use std::net::SocketAddr;

use agent_common::signal::word;
use agent_model::drops::Class;
use agent_model::event::{Detail, Endpoint, KernelEvent, Tcp};
use agent_model::limits::{DROP_AGE, WAITING_DROPS};
use agent_model::signals::PacketDropped;
use agent_model::signals::packet_dropped::{Dropped, Role};

use super::connection::Connection;
use super::observed::{ConnectionId, Observed};
use super::timeline::{Entry, What};
use super::{Correlator, LATE_SEGMENTS};

/// From whom to whom a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// Of loopback addresses, which each network namespace has for itself; else 0.
    netns: u32,
}

impl Ends {
    pub fn new(from: SocketAddr, to: SocketAddr, netns: u32) -> Self {
        Self { from, to, netns: if to.ip().is_loopback() { netns } else { 0 } }
    }

    /// Whether a connection of network namespace `netns` may be the one.
    pub fn is_of(&self, netns: u32) -> bool {
        self.netns == 0 || self.netns == netns
    }
}

/// The ends of a dropped packet: without a socket its destination is the local end.
pub fn ends(event: &KernelEvent) -> Option<Ends> {
    let Detail::PacketDropped(PacketDropped { role, .. }) = event.detail else { return None };
    let Endpoint { local, remote, netns, .. } = event.endpoint;
    let (from, to) = if role == Some(Role::Sender) { (local, remote) } else { (remote, local) };
    Some(Ends::new(from, to, netns))
}

/// The entry as it is for a connection with this part in it.
pub fn of_role(entry: Entry, role: Role) -> Entry {
    if let What::PacketDropped(dropped) = entry.what {
        Entry { what: What::PacketDropped(Dropped { role: Some(role), ..dropped }), ..entry }
    } else {
        entry
    }
}

/// A drop whose sender is not known yet.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    ends: Ends,
    seq: Option<u32>,
    entry: Entry,
}

/// How many of the waiting drops have this end, or this sequence number.
#[derive(Debug)]
struct Tally<K>(HashMap<K, usize>);

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Tally<K> {
    fn add(&mut self, key: K) {
        *self.0.entry(key).or_default() += 1;
    }

    fn take(&mut self, key: K) {
        if let hash_map::Entry::Occupied(mut count) = self.0.entry(key) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// The drops that wait.
#[derive(Debug, Default)]
pub struct Drops {
    waiting: VecDeque<Waiting>,
    /// Asked at every event of a connection, of which hardly any has a drop that waits.
    from: Tally<SocketAddr>,
    to: Tally<SocketAddr>,
    seq: Tally<u32>,
    /// When the last drop went by without a line of its own, or its record was lost.
    pub untold: Option<u64>,
}

impl Drops {
    /// Keeps a drop until its sender has trouble.
    pub fn keep(&mut self, event: &KernelEvent, entry: Entry) {
        let Detail::PacketDropped(PacketDropped { segment, .. }) = event.detail else { return };
        let Some(ends) = ends(event) else { return };
        self.expire(event.time);
        if self.waiting.len() >= WAITING_DROPS {
            self.forget_first();
            self.untold = Some(event.time);
        }
        let seq = segment.map(|segment| segment.seq);
        self.from.add(ends.from);
        self.to.add(ends.to);
        if let Some(seq) = seq {
            self.seq.add(seq);
        }
        self.waiting.push_back(Waiting { ends, seq, entry });
    }

    fn expire(&mut self, now: u64) {
        while self.waiting.front().is_some_and(|first| first.entry.time.saturating_add(DROP_AGE) < now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some(first) = self.waiting.pop_front() {
            self.untally(&first);
        }
    }

    fn untally(&mut self, drop: &Waiting) {
        self.from.take(drop.ends.from);
        self.to.take(drop.ends.to);
        if let Some(seq) = drop.seq {
            self.seq.take(seq);
        }
    }

    /// Whether any may be of a connection with these ends, which translation may have changed.
    fn may_have(&self, ends: Ends, tcp: Option<&Tcp>) -> bool {
        self.from.0.contains_key(&ends.from)
            || self.to.0.contains_key(&ends.to)
            || tcp.is_some_and(|tcp| self.seq.0.contains_key(&tcp.raw.snd_una))
    }

    /// Gives out the drops of packets that a connection with these ends sent.
    pub fn take(&mut self, ends: Ends, tcp: Option<&Tcp>, now: u64) -> Vec<Entry> {
        self.expire(now);
        if !self.may_have(ends, tcp) {
            return Vec::new();
        }
        let mut taken = Vec::new();
        self.waiting.retain(|drop| {
            let is_its = drop.ends == ends || is_translated(drop, ends, tcp);
            if is_its {
                taken.push(*drop);
            }
            !is_its
        });
        for drop in &taken {
            self.untally(drop);
        }
        taken.into_iter().map(|drop| drop.entry).collect()
    }
}

/// An address or port of one end was changed on the way, and the sequence number is one that waits for an answer; or
/// both ends were, as a node port's are, and it is the very next one.
fn is_translated(drop: &Waiting, ends: Ends, tcp: Option<&Tcp>) -> bool {
    let Some((tcp, seq)) = tcp.zip(drop.seq) else { return false };
    let keeps_one = drop.ends.from == ends.from || drop.ends.to == ends.to;
    let (offset, waits) =
        (seq.wrapping_sub(tcp.raw.snd_una), tcp.raw.write_seq.wrapping_sub(tcp.raw.snd_una));
    offset < waits && (keeps_one || offset == 0)
}

impl Correlator {
    /// A packet that no socket had room for is no more than an event of that socket.
    pub(super) fn is_drop_on_the_way(&self, event: &KernelEvent) -> bool {
        let Detail::PacketDropped(dropped) = event.detail else { return false };
        dropped.class(self.host.facts()) != Class::Shortage
    }

    /// A packet dropped on its way: of whichever socket its record is, it is its sender's trouble first.
    pub(super) fn dropped(&mut self, event: KernelEvent) -> Observed {
        if event.stands_for > 1 {
            self.drops.untold = Some(event.time);
        }
        if let Detail::PacketDropped(PacketDropped { reason, netns, .. }) = event.detail {
            self.drop_counts.add(netns.unwrap_or(event.endpoint.netns), reason, event.stands_for);
        }
        let has_socket = event.endpoint.sk.is_some() && !event.endpoint.request;
        let own = if has_socket { self.connection(&event) } else { None };
        if let Some(id) = own {
            self.join_drops(id, &event);
            self.table.change(id, |connection, room| connection.absorb(&event, None, room));
            self.accept(id, &event.endpoint);
        }
        let entry = Entry { unacked: 0, unsent: 0, unread: 0, window: None, ..Entry::of(&event, None) };
        let (sender, receiver) = self.ends_of_drop(&event);
        for (id, role) in [(sender, Role::Sender), (receiver, Role::Receiver)] {
            if let Some(id) = id.filter(|id| Some(*id) != own) {
                let entry = of_role(entry, role);
                self.table.change(id, |connection, room| connection.note_drop(&entry, room));
            }
        }
        if sender.is_none() {
            self.drops.keep(&event, of_role(entry, Role::Sender));
        }
        let observed = self.observe(event, own.or(sender).or(receiver), None);
        Observed { sender, ..observed }
    }

    /// The connections, living or just dead, of who sent a dropped packet and of who was to receive it.
    fn ends_of_drop(&self, event: &KernelEvent) -> (Option<ConnectionId>, Option<ConnectionId>) {
        let Some(its) = ends(event) else { return (None, None) };
        let Ends { from, to, .. } = its;
        let find = |local, remote| {
            let is_its = |known: &&Connection| {
                let recent = known.is_live() || known.last.abs_diff(event.time) < LATE_SEGMENTS;
                recent && its.is_of(known.identity.netns)
            };
            self.table.by_ends(local, remote).find(is_its).map(|known| known.id)
        };
        (find(from, to), find(to, from))
    }

    /// Gives a connection that has trouble the drops that came before.
    pub(super) fn join_drops(&mut self, id: ConnectionId, event: &KernelEvent) {
        let Endpoint { local, remote, netns, .. } = event.endpoint;
        let ends = Ends::new(local, remote, netns);
        for entry in self.drops.take(ends, event.tcp.as_ref(), event.time) {
            self.table.change(id, |connection, room| connection.note_drop(&entry, room));
        }
    }

    /// Of these drops nobody knows whose they were.
    pub(super) fn untold(&mut self, signal: &str) {
        if signal == word::PACKET_DROPPED {
            self.drops.untold = self.host.span().map(|(_, last)| last);
        }
    }
}
