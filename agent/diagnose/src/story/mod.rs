//! What a rule may read: one connection and its surroundings.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use agent_common::record;
use agent_model::timers::{Moment, Outlook};
use agent_model::units::from_jiffies;

use crate::forecast::Forecast;
use crate::{Certainty, Phase, path};

mod build;

use agent_correlate::Stacks;
use agent_correlate::connection::Connection;
use agent_correlate::families::{Families, ProcessFamily};
use agent_correlate::listeners::{Listener, Listening};
use agent_correlate::observed::Observed;
use agent_correlate::orphans::Orphans;
use agent_correlate::strays::Stray;
use agent_correlate::timeline::{Entry, What};
use agent_model::cause::Cause;
use agent_model::event::{
    CgroupMemory, Detail, Exit, HostFacts, Owner, OwnerSource, Process, RetransmitKind, Segment, Settings,
    Tcp, TcpMemory, TcpState,
};
use agent_model::signals::reset_sent::OwnReset;
use agent_model::signals::retransmit::Resend;
use agent_model::signals::{Recovered, ResetSent};

/// `SOCK_LINGER` in `skc_flags`.
const SOCK_LINGER: u64 = 1 << 4;
/// `SOCK_KEEPOPEN`, likewise.
const SOCK_KEEPOPEN: u64 = 1 << 3;

/// One connection and its surroundings.
#[derive(Clone, Debug)]
pub struct Story<'a> {
    /// What has come of it.
    pub phase: Phase,
    /// When, ns of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// A walk over open files read the socket after all events: its numbers are the present ones.
    pub looked: bool,
    /// The connection; `None` if there is none: a segment for a closed port, a half-open connection.
    pub connection: Option<&'a Connection>,
    /// Its other end, if it lives on this host.
    pub peer: Option<&'a Connection>,
    /// The event without a connection.
    pub stray: Option<&'a Observed>,
    /// The connection of its process that failed just before it was reset here.
    pub failed_before: Option<&'a Connection>,
    /// A segment of it that another place of this host reset, having no such connection.
    pub astray: Option<Astray<'a>>,
    /// Who listens on its local address and port.
    pub listening: Listening,
    /// Who of this host listens where it wants to connect to, while it has no answer.
    pub listeners_there: Vec<&'a Arc<Listener>>,
    /// The host.
    pub host: &'a HostFacts,
    /// Settings and devices of the agent's network namespace.
    pub settings: Option<&'a Settings>,
    /// Functions of the last reset's kernel stack, innermost first.
    pub stack: Arc<[Box<str>]>,
    /// Kernel stacks, of those at which its packets were dropped too.
    pub stacks: &'a Stacks,
    /// Each drop of its packets on this host would be among what happened.
    pub tells_drops: bool,
    /// Why it was stalled until it died, or why it died as judged before: the end empties the socket of what shows it.
    pub known_cause: Option<Cause>,
    /// What comes, of a stall.
    pub outlook: Option<Outlook>,
    /// The host's TCP memory; `None` if it is not known.
    pub memory: Option<&'a TcpMemory>,
    /// The processes that share its server's sockets, as the last walk over open files found them.
    pub family: Option<Relatives<'a>>,
    /// All of the host, as that walk found them.
    pub families: &'a Families,
    /// Whose closed sockets were reset for want of memory before.
    pub orphans: &'a Orphans,
    /// Memory of its socket's cgroup; `None` if it is not known.
    pub cgroup: Option<&'a CgroupMemory>,
    /// What the socket knew, once somebody asked.
    pub tcp: OnceCell<Option<Tcp>>,
    /// What happened, likewise.
    pub entries: OnceCell<Vec<Entry>>,
}

/// A process family, and what it is heading for.
#[derive(Clone, Debug)]
pub struct Relatives<'a> {
    /// Who.
    pub family: &'a ProcessFamily,
    /// Limits that it reaches if it goes on as it does, the first one first.
    pub forecast: Vec<Forecast>,
}

/// A segment that met no connection, and what is known of whose it is.
#[derive(Clone, Debug)]
pub struct Astray<'a> {
    /// Where it came to, and what it was.
    pub stray: Stray,
    /// The connection that sent it, if that is on this host.
    pub sender: Option<&'a Connection>,
    /// A living connection with its ends in another network namespace of this host.
    pub elsewhere: Option<&'a Connection>,
    /// The connection with its ends that ended where it came to.
    pub former: Option<&'a Connection>,
    /// The connection of another peer that has the port which it came to.
    pub neighbour: Option<&'a Connection>,
}

/// When and at which point of the kernel's work a socket's numbers were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// ns of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// See there.
    pub moment: Moment,
}

/// A reset that this host sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset<'a> {
    /// The kernel's name of the reason; `None` before 6.10.
    pub reason: Option<&'a str>,
    /// On this side's initiative.
    pub active: bool,
    /// State at the event.
    pub state: Option<TcpState>,
    /// The segment that it answers, where that was kept.
    pub trigger: Option<Segment>,
    /// How the process ends that sent it by ending.
    pub exit: Option<Exit>,
}

impl<'a> Story<'a> {
    /// What the socket knew.
    pub fn tcp(&self) -> Option<&Tcp> {
        self.tcp.get_or_init(|| self.connection?.tcp()).as_ref()
    }

    /// The raw numbers of the socket.
    pub fn raw(&self) -> Option<&record::Tcp> {
        self.tcp().map(|tcp| &tcp.raw)
    }

    /// What happened, oldest first.
    pub fn entries(&self) -> &[Entry] {
        self.entries
            .get_or_init(|| self.connection.map_or_else(Vec::new, |connection| connection.timeline.entries()))
    }

    /// The errno that the application got, 0 for none.
    pub fn error(&self) -> i32 {
        self.connection.map_or(0, |connection| connection.error)
    }

    /// The last state that was not CLOSE.
    pub fn live_state(&self) -> Option<TcpState> {
        self.connection?.live_state
    }

    /// It is over.
    pub fn is_dead(&self) -> bool {
        self.phase == Phase::Died
    }

    /// The last reset that this host sent for it.
    pub fn reset(&self) -> Option<Reset<'a>> {
        match self.stray {
            Some(observed) => stray_reset(observed),
            None => self.entries().iter().rev().find_map(|entry| self.sent(entry)),
        }
    }

    fn sent(&self, entry: &Entry) -> Option<Reset<'a>> {
        let What::ResetSent(OwnReset { reason, active, state, exit, .. }) = entry.what else { return None };
        let reason = reason.and_then(|reason| self.host.reset_reasons.get(&i32::from(reason)));
        Some(Reset { reason: reason.map(|name| &**name), active, state, trigger: None, exit })
    }

    /// The last RST that was accepted, and the state in which it was.
    pub fn received(&self) -> Option<&Entry> {
        self.entries().iter().rev().find(|entry| matches!(entry.what, What::ResetReceived(_)))
    }

    /// Why the kernel sent the last reset.
    pub fn path(&self) -> Option<(path::Path, Certainty)> {
        path::path(self)
    }

    /// The kernel stack with this id, of a drop.
    pub fn stack_of(&self, place: u16) -> &'a [Box<str>] {
        self.stacks.get(&place.into()).map_or(&[], |stack| stack)
    }

    /// Whether the kernel stack of the last reset has this function.
    pub fn went_through(&self, function: &str) -> bool {
        self.stack.iter().any(|frame| &**frame == function)
    }

    /// Who ended it.
    pub fn closer(&self) -> Option<&'a Process> {
        let connection = self.connection?;
        connection.ended_by.as_deref().or_else(|| self.owner().map(|owner| &owner.process))
    }

    /// The best known owner.
    pub fn owner(&self) -> Option<&'a Owner> {
        self.connection?.owner.as_deref()
    }

    /// The listener on its local address and port.
    pub fn listener(&self) -> Option<&Arc<Listener>> {
        self.listening.somebody()
    }

    /// Whether `SO_LINGER` was set to no time.
    pub fn lingers_not(&self) -> bool {
        self.raw().is_some_and(|raw| raw.sock_flags & SOCK_LINGER != 0 && raw.linger == 0)
    }

    /// Whether `SO_KEEPALIVE` is set.
    pub fn keeps_alive(&self) -> bool {
        self.raw().is_some_and(|raw| raw.sock_flags & SOCK_KEEPOPEN != 0)
    }

    /// Whether no process has it open any more.
    pub fn is_orphan(&self) -> bool {
        self.tcp().is_some_and(Tcp::is_orphan)
    }

    /// Whether no file ever referred to it: `inet_csk_listen_stop` disconnects such a socket before
    /// `sock_orphan` marks it dead.
    pub fn was_never_accepted(&self) -> bool {
        !self.is_orphan() && self.raw().is_some_and(|raw| raw.has_socket == 0)
    }

    /// Bytes of the application that the peer acknowledged. `bytes_acked` counts the SYN of who connected, and
    /// the FIN.
    pub fn delivered(&self) -> u64 {
        let connected = self.owner().is_some_and(|owner| owner.source == OwnerSource::Connect);
        let closed = matches!(self.live_state(), Some(TcpState::FinWait2 | TcpState::TimeWait));
        let none_is_data = u64::from(connected) + u64::from(closed);
        self.raw().map_or(0, |raw| raw.bytes_acked.saturating_sub(none_is_data))
    }

    /// Bytes that the application wrote and the peer did not acknowledge: sent ones, and those never sent. SYN and
    /// FIN take a sequence number each and are no data; the FIN is the last.
    pub fn waiting(&self) -> (u32, u32) {
        let Some(tcp) = self.tcp() else { return (0, 0) };
        let (unacked, unsent) = (tcp.unacked_bytes(), tcp.unsent_bytes());
        let has_syn = matches!(self.live_state(), Some(TcpState::SynSent | TcpState::SynRecv));
        let has_fin =
            matches!(self.live_state(), Some(TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck));
        let unacked = unacked.saturating_sub(u32::from(has_syn) + u32::from(has_fin && unsent == 0));
        (unacked, unsent.saturating_sub(u32::from(has_fin && unsent > 0)))
    }

    /// Bytes that the application wrote and the peer did not acknowledge.
    pub fn undelivered(&self) -> u32 {
        let (unacked, unsent) = self.waiting();
        unacked.saturating_add(unsent)
    }

    /// How long before this moment the peer last acknowledged something, or announced its window (`rcv_tstamp`).
    pub fn since_answer(&self) -> Option<Duration> {
        let raw = self.raw().filter(|raw| raw.rcv_tstamp != 0)?;
        let jiffies = (raw.jiffies as u32).wrapping_sub(raw.rcv_tstamp);
        Some(from_jiffies(jiffies, self.host.hz).unwrap_or_default())
    }

    /// Resets with which this host answered the peer's answers to its SYN: they acknowledged something else.
    pub fn wrong_answers(&self) -> u32 {
        let wrong = |entry: &&Entry| {
            let state = Some(TcpState::SynSent);
            matches!(entry.what, What::ResetSent(OwnReset { active: false, state: then, .. }) if then == state)
        };
        self.entries().iter().filter(wrong).fold(0, |sum, entry| sum.saturating_add(entry.count))
    }

    /// Consecutive timeouts of the stall that ended it, or that it is in.
    pub fn stage(&self) -> u32 {
        let counted = self.raw().map_or(0, |raw| u32::from(raw.retransmits));
        counted.max(self.timeouts().last().map_or(0, |&(stage, _)| stage))
    }

    /// Timeouts of the last stall that are still in the timeline: stage and length of each, jiffies.
    pub fn timeouts(&self) -> Vec<(u32, u32)> {
        let mut burnt = Vec::new();
        for entry in self.entries() {
            if let What::Retransmit(Resend { stage: stage @ 1.., rto, .. }) = entry.what {
                if burnt.last().is_some_and(|(last, _)| *last >= u32::from(stage)) {
                    burnt.clear();
                }
                burnt.push((stage.into(), rto));
            } else if matches!(entry.what, What::Recovered(_)) {
                burnt.clear();
            }
        }
        burnt
    }

    /// Consecutive timeouts of the last stall that ended well.
    pub fn recovered(&self) -> Option<u8> {
        self.entries().iter().rev().find_map(|entry| {
            if let What::Recovered(Recovered { stage }) = entry.what { Some(stage) } else { None }
        })
    }

    /// Timeouts that sent again what an earlier one had sent already, of those still in the timeline.
    pub fn repeats(&self) -> u32 {
        let repeats = |entry: &&Entry| matches!(entry.what, What::Retransmit(Resend { stage: 2.., .. }));
        self.entries().iter().filter(repeats).fold(0, |sum, entry| sum.saturating_add(entry.count))
    }

    /// Segments sent again, of one kind.
    pub fn segments(&self, kind: RetransmitKind) -> u32 {
        self.tcp().map_or(0, |tcp| tcp.totals.segments[kind as usize])
    }

    /// Segments sent again, of all kinds.
    pub fn sent_again(&self) -> u32 {
        let add = |sum: u32, &count: &u32| sum.saturating_add(count);
        self.tcp().map_or(0, |tcp| tcp.totals.segments.iter().fold(0, add))
    }
}

fn stray_reset(observed: &Observed) -> Option<Reset<'_>> {
    let Detail::ResetSent(ResetSent { trigger, exit, .. }) = observed.event.detail else { return None };
    Some(Reset {
        reason: observed.reason.as_deref(),
        active: trigger.is_none(),
        state: observed.event.endpoint.state,
        trigger,
        exit,
    })
}
