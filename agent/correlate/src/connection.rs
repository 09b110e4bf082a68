//! One connection's story so far.

use std::num::NonZero;
use std::sync::Arc;

use agent_common::record::Totals;
use agent_model::cause::Cause;
use agent_model::event::{
    Detail, Endpoint, KernelEvent, Owner, OwnerSource, Process, SockHeld, Tcp, TcpState,
};
use agent_model::signals::{BufLimitExceeded, ResetSent};

use super::holders::Holders;
use super::identity::Identity;
use super::observed::ConnectionId;
use super::packed::Packed;
use super::shared::{Began, Initials};
use super::timeline::{Entry, Room, Timeline};
use super::{owner, state};

/// A connection that had trouble. Read-only outside of `correlate`: queries lend it.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Its name.
    pub id: ConnectionId,
    /// What both of its hosts know it by.
    pub initials: Option<Initials>,
    /// Its ends and where it lives.
    pub identity: Identity,
    /// First event, ns of `CLOCK_MONOTONIC`.
    pub first: u64,
    /// Last event, likewise.
    pub last: u64,
    /// See [`Self::died`]; 8 bytes, where an `Option<u64>` has 16.
    died: Option<NonZero<u64>>,
    /// It is history: its end is known, and only stragglers can follow.
    pub gone: bool,
    /// Newest state. CLOSE for the dead, but `TIME_WAIT` if that is all that was ever seen of it.
    pub state: Option<TcpState>,
    /// Newest state that was not CLOSE: where the end found it.
    pub live_state: Option<TcpState>,
    /// Last errno for the application (in `sk_err` its reading clears it); 0 none.
    pub error: i32,
    tcp: Option<Packed>,
    /// The best known owner.
    pub owner: Option<Arc<Owner>>,
    /// The process whose doing its end is: it closed, shut down or (`ss -K`) killed it. Boxed: of the living
    /// most have none.
    pub ended_by: Option<Box<Process>>,
    /// Processes that have it open.
    pub holders: Holders,
    /// Somebody listened on its local address and port, so that it was accepted.
    pub accepted: bool,
    /// Kernel id of the memory cgroup that it is charged to, if memory was refused.
    pub memory_cgroup: Option<NonZero<u64>>,
    /// Id of the kernel stack of the last reset that this host sent for it, where the kernel side took one.
    pub reset_stack: Option<u16>,
    /// What happened.
    pub timeline: Timeline,
    /// Events seen.
    pub events: u64,
    /// Why it died, once that was said.
    pub verdict: Option<Cause>,
    /// Time under which the table ranks it.
    pub(super) ranked: u64,
    /// Hash of its two ends, under which the table finds it.
    pub(super) ends: u64,
}

impl Connection {
    pub(super) fn new(id: ConnectionId, endpoint: &Endpoint, time: u64) -> Self {
        Self {
            id,
            initials: None,
            identity: Identity::new(endpoint),
            first: time,
            last: time,
            died: None,
            gone: false,
            state: endpoint.state,
            live_state: None,
            error: 0,
            tcp: None,
            owner: None,
            ended_by: None,
            holders: Holders::default(),
            accepted: false,
            memory_cgroup: None,
            reset_stack: None,
            timeline: Timeline::default(),
            events: 0,
            verdict: None,
            ranked: time,
            ends: 0,
        }
    }

    /// When it went to CLOSE; else when its socket was destroyed or found replaced. Ns of `CLOCK_MONOTONIC`.
    pub fn died(&self) -> Option<u64> {
        self.died.map(NonZero::get)
    }

    /// Keeps when it died, the first time that it is reported.
    pub(super) fn die(&mut self, time: u64) {
        self.died = self.died.or(NonZero::new(time.max(1)));
    }

    /// Neither closed nor destroyed.
    pub fn is_live(&self) -> bool {
        self.died.is_none() && !self.gone
    }

    /// Alive, and the peer does not answer: a timeout, a SYN, or a probe went unanswered at last sight.
    pub fn is_stalled(&self) -> bool {
        self.is_live() && self.tcp.as_ref().is_some_and(Packed::is_stalled)
    }

    /// What the socket knew at the last event that found it intact; `None` if only packets of it were seen.
    pub fn tcp(&self) -> Option<Tcp> {
        self.tcp.as_ref().map(Packed::get)
    }

    /// The same, packed: for who wants little of it.
    pub(super) fn packed(&self) -> Option<&Packed> {
        self.tcp.as_ref()
    }

    /// All that was counted of it since the agent first saw it. The kernel side counts, so records that
    /// were lost lose nothing here.
    pub fn totals(&self) -> Totals {
        self.tcp().map_or_else(Totals::default, |tcp| tcp.totals)
    }

    /// Takes in an event of this connection, whose stage is `stage`. Returns by how many entries the
    /// timeline grew.
    pub(super) fn absorb(&mut self, event: &KernelEvent, stage: Option<u32>, room: Room) -> isize {
        let after = event.signal().state_after(event);
        if self.died.is_some() && after.is_some_and(state::is_alive) {
            self.begin_again();
        }
        self.last = self.last.max(event.time);
        self.events += u64::from(event.stands_for);
        self.identity.improve(&event.endpoint);
        self.learn_owner(event);
        let grown = self.follow_tcp(event, room);
        self.follow_facts(event);
        self.follow_state(event, after);
        grown + self.timeline.push(Entry::of(event, stage), room)
    }

    /// A packet of it was dropped in the hands of another socket or namespace.
    pub(super) fn note_drop(&mut self, entry: &Entry, room: Room) -> isize {
        self.last = self.last.max(entry.time);
        self.events += u64::from(entry.count);
        self.timeline.push(*entry, room)
    }

    /// `connect()` on a closed socket: what was known of its end and its numbers is of an earlier life.
    fn begin_again(&mut self) {
        (self.died, self.tcp, self.ended_by, self.error) = (None, None, None, 0);
        (self.verdict, self.initials) = (None, None);
    }

    fn learn_owner(&mut self, event: &KernelEvent) {
        let recorded = event.owner.as_ref().filter(|_| !event.endpoint.request);
        for new in recorded.into_iter().chain(&owner::believed(event)) {
            owner::learn(&mut self.owner, new);
        }
        if let Some(ender) = owner::ender(event).filter(|&ender| self.ended_by.as_deref() != Some(ender)) {
            self.ended_by = Some(Box::new(ender.clone()));
        }
    }

    /// The process that listens for the connection owns it until a better owner is known.
    pub(super) fn accepted_by(&mut self, listener: Option<&Owner>) {
        self.accepted = self.owner.as_ref().is_none_or(|owner| owner.source != OwnerSource::Connect);
        if let Some(listener) = listener.filter(|_| owner::is_weak(self.owner.as_deref())) {
            owner::learn(&mut self.owner, &owner::as_listener(listener));
        }
    }

    /// Learns what both hosts know it by, from the first event that has it.
    pub(super) fn name(&mut self, event: &KernelEvent) {
        let connected = self.owner.as_ref().is_some_and(|owner| owner.source == OwnerSource::Connect);
        let began = if connected { Some(Began::Connected) } else { self.accepted.then_some(Began::Accepted) };
        self.initials = self.initials.or_else(|| Initials::of(event, began));
    }

    fn follow_tcp(&mut self, event: &KernelEvent, room: Room) -> isize {
        let burial = matches!(event.detail, Detail::SockDestroyed(_));
        event.tcp.as_ref().map_or(0, |tcp| self.see(tcp, event.time, burial, room))
    }

    /// Takes in what the socket knows now; adds an entry if the stall that was known is over.
    fn see(&mut self, new: &Tcp, time: u64, burial: bool, room: Room) -> isize {
        let Some(packed) = &mut self.tcp else {
            self.tcp = Some(Packed::new(new));
            return 0;
        };
        let known = packed.get();
        packed.set(&newest(&known, new, burial));
        match recovered(&known, new) {
            stage @ 1.. if self.is_live() => self.timeline.push(Entry::recovered(time, stage, new), room),
            _ => 0,
        }
    }

    fn follow_facts(&mut self, event: &KernelEvent) {
        if let Some(error) = state::error(event) {
            self.error = error;
        }
        if let Detail::BufLimitExceeded(BufLimitExceeded { memory_cgroup, .. }) = event.detail {
            self.memory_cgroup = memory_cgroup.and_then(NonZero::new);
        }
        if let Detail::ResetSent(ResetSent { stack, .. }) = event.detail {
            self.reset_stack = stack.and_then(|stack| stack.try_into().ok());
        }
    }

    fn follow_state(&mut self, event: &KernelEvent, after: Option<TcpState>) {
        for state in [event.state_before(), after].into_iter().flatten() {
            self.state = Some(state);
            if state != TcpState::Close {
                self.live_state = Some(state);
            }
        }
        if after == Some(TcpState::Close) || matches!(event.detail, Detail::SockDestroyed(_)) {
            self.die(event.time);
        }
    }

    /// Takes in the finding of a walk over open files. Returns by how many entries the timeline grew.
    pub(super) fn absorb_holder(&mut self, held: &SockHeld, walk: u32, room: Room) -> isize {
        self.holders.add(held, walk);
        if let Some(owner) = &held.owner {
            owner::learn(&mut self.owner, owner);
        }
        self.trust_first_holder();
        if self.gone || held.time < self.last {
            return 0;
        }
        let grown = self.see(&held.tcp, held.time, false, room);
        if let Some(state) = held.endpoint.state.filter(|state| *state != TcpState::Close) {
            (self.state, self.live_state) = (Some(state), Some(state));
        }
        grown
    }

    /// Forgets holders that the walk did not find. An owner that is gone keeps the connection if nobody
    /// else holds it: the dead keep their names.
    pub(super) fn end_walk(&mut self, walk: u32) {
        self.holders.end_walk(walk);
        self.trust_first_holder();
    }

    fn trust_first_holder(&mut self) {
        let Some(first) = self.holders.named().first() else { return };
        let holds = self.owner.as_ref().is_some_and(|owner| {
            owner.source == OwnerSource::File && self.holders.contains(owner.process.pid)
        });
        if !holds {
            let owner = Owner { process: first.process.clone(), source: OwnerSource::File };
            owner::learn(&mut self.owner, &owner);
        }
    }
}

/// Totals only grow. The rest is the newest; but a burial may show a socket that `tcp_disconnect` has emptied,
/// so it counts only if it has something new.
fn newest(known: &Tcp, new: &Tcp, burial: bool) -> Tcp {
    let rest = if !burial || went_on(known, new) { new } else { known };
    Tcp { totals: newest_totals(&known.totals, &new.totals), ..*rest }
}

/// Whether the connection moved between two sights; `tcp_disconnect` sets all of these to 0.
fn went_on(old: &Tcp, new: &Tcp) -> bool {
    let counters = |tcp: &Tcp| {
        [tcp.raw.bytes_sent, tcp.raw.bytes_acked, tcp.raw.bytes_received, tcp.raw.total_retrans.into()]
    };
    let (old, new) = (counters(old), counters(new));
    old != new && old.iter().zip(new).all(|(old, new)| *old <= new)
}

/// Something that was sent waits for an answer past its time.
pub(super) fn is_stalled(tcp: &Tcp) -> bool {
    let raw = &tcp.raw;
    raw.retransmits > 0 || raw.backoff > 0 || raw.probes_out > 0
}

/// Consecutive timeouts of the stall that ended between two sights; 0 if none did. Only an advance of
/// `snd_una` resets `icsk_retransmits` (`tcp_ack`); `tcp_disconnect()` resets it as well, with all the rest.
fn recovered(old: &Tcp, new: &Tcp) -> u8 {
    let advanced = new.raw.snd_una.wrapping_sub(old.raw.snd_una).cast_signed() > 0;
    if advanced && new.raw.retransmits == 0 { old.raw.retransmits } else { 0 }
}

/// The member-wise greater: a walk's finding and a record may arrive in either order.
fn newest_totals(a: &Totals, b: &Totals) -> Totals {
    let Totals { mut segments, failed, resets_sent, resets_received, buf_limit_exceeded, dropped, reserved } =
        *a;
    for (segment, other) in segments.iter_mut().zip(b.segments) {
        *segment = other.max(*segment);
    }
    Totals {
        segments,
        failed: failed.max(b.failed),
        resets_sent: resets_sent.max(b.resets_sent),
        resets_received: resets_received.max(b.resets_received),
        buf_limit_exceeded: buf_limit_exceeded.max(b.buf_limit_exceeded),
        dropped: dropped.max(b.dropped),
        reserved,
    }
}
