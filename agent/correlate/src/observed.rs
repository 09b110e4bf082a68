//! An event with all that correlation adds: what `tail` prints and `diagnose` reads.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agent_model::event::{KernelEvent, Owner};
use agent_model::signals::Known;
use agent_model::timers::Outlook;

use super::listeners::Listening;
use super::place::Place;

/// Names a connection for the host's uptime: the socket cookie, or before 5.12 a number made from the
/// socket's address and the time it was first seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Set in made names; cookies do not reach it.
const MADE: u64 = 1 << 63;

impl ConnectionId {
    /// The name for a connection without a cookie.
    pub(super) fn made(hash: u64) -> Self {
        Self(hash | MADE)
    }

    /// The socket cookie, if the name is one.
    pub fn cookie(self) -> Option<u64> {
        (self.0 & MADE == 0).then_some(self.0)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// A kernel event, correlated.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The event.
    pub event: KernelEvent,
    /// Wall clock at the event, ns since 1970 UTC.
    pub realtime: i64,
    /// The connection. A segment without a socket finds one that had the same ends shortly before; `None`
    /// for half-open connections and for strays.
    pub connection: Option<ConnectionId>,
    /// The best known owner of the socket, or the listener's process for a half-open connection.
    pub owner: Option<Owner>,
    /// Where the socket lives.
    pub place: Place,
    /// The kernel's name of the reason of a reset or of a dropped packet, without its prefix.
    pub reason: Option<Arc<str>>,
    /// Functions of a reset's kernel stack, innermost first.
    pub stack: Arc<[Box<str>]>,
    /// Retransmission timeout in force at the event.
    pub rto: Option<Duration>,
    /// n-th consecutive timeout (or SYN, SYN-ACK) of this stall, from 1; `None` for other kinds.
    pub stage: Option<u32>,
    /// What comes for a half-open connection if its client stays silent; of SYN-ACKs of a listener that is
    /// known.
    pub outlook: Option<Outlook>,
    /// The connection that sent a packet which was dropped on its way, if it is known.
    pub sender: Option<ConnectionId>,
    /// Who listens on the event's local address and port: of a `NO_SOCKET` reset nobody, as a rule.
    pub listener: Listening,
}

impl Observed {
    /// What its signal adds to a line.
    pub fn known(&self) -> Known<'_> {
        Known {
            event: &self.event,
            stage: self.stage,
            rto: self.rto,
            reason: self.reason.as_deref(),
            stack: &self.stack,
            listening: self.listener.is_somebody(),
        }
    }
}
