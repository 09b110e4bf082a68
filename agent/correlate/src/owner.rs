//! Which process owns a socket: which source of that knowledge takes precedence, and when `current` is believed.

use std::collections::HashSet;
use std::sync::Arc;

use agent_model::event::{Detail, KernelEvent, Owner, OwnerSource, Process, TcpState};
use agent_model::limits::OWNERS;

/// ECONNABORTED, which `tcp_abort` (`ss -K`, `bpf_sock_destroy`) leaves in `sk_err`.
const ECONNABORTED: i32 = 103;

/// Replaces `known` unless its source is better. Of two with the same source the newer one counts: a forked child
/// that closes its connection is more its owner than the parent that accepted it.
pub fn learn(known: &mut Option<Arc<Owner>>, new: &Owner) {
    if is_weaker_or_equal(known.as_deref(), new.source) && known.as_deref() != Some(new) {
        *known = Some(Arc::new(new.clone()));
    }
}

/// One copy of each owner: few processes own many connections.
#[derive(Debug, Default)]
pub struct Owners(HashSet<Arc<Owner>>);

impl Owners {
    /// Replaces an owner by the shared copy.
    pub fn share(&mut self, owner: &mut Option<Arc<Owner>>) {
        let Some(new) = owner else { return };
        if let Some(shared) = self.0.get(new) {
            *new = shared.clone();
            return;
        }
        if self.0.len() >= OWNERS {
            // Copies in use stay with their connections; new connections no longer share them.
            self.0.clear();
        }
        self.0.insert(new.clone());
    }
}

fn is_weaker_or_equal(known: Option<&Owner>, source: OwnerSource) -> bool {
    known.is_none_or(|known| known.source <= source)
}

/// Whether only a walk over open files could find a better owner.
pub fn is_weak(known: Option<&Owner>) -> bool {
    is_weaker_or_equal(known, OwnerSource::Listener)
}

/// The same process, seen as the one that listens for the connection.
pub fn as_listener(owner: &Owner) -> Owner {
    Owner { process: owner.process.clone(), source: OwnerSource::Listener }
}

/// What the task that holds the socket's lock is to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It uses the socket: reads, writes, closes.
    User,
    /// It works on a socket that need not be its own: `ss -K`, or whoever holds the last reference.
    Stranger,
}

/// Whoever holds the lock uses the socket, except in `tcp_abort` and when the socket is destroyed
/// (docs/kernel.md, "The task that runs is the socket's user only with the lock").
pub fn role(event: &KernelEvent) -> Role {
    match event.detail {
        // close(), linger and disconnect set CLOSE before the reset; tcp_abort resets a live state.
        Detail::ResetSent { trigger: None, .. } if event.endpoint.state != Some(TcpState::Close) => {
            Role::Stranger
        }
        Detail::StateChanged { new: TcpState::Close, .. } if errno(event) == ECONNABORTED => Role::Stranger,
        Detail::SockDestroyed => Role::Stranger,
        Detail::Retransmit { .. }
        | Detail::SynackRetransmit { .. }
        | Detail::ResetSent { .. }
        | Detail::ResetReceived
        | Detail::BufLimitExceeded { .. }
        | Detail::RcvqueueFull { .. }
        | Detail::PacketDropped { .. }
        | Detail::StateChanged { .. } => Role::User,
    }
}

fn errno(event: &KernelEvent) -> i32 {
    event.tcp.as_ref().map_or(0, |tcp| tcp.raw.err)
}

/// The owner that `current` proves to be one.
pub fn believed(event: &KernelEvent) -> Option<Owner> {
    let thread = event.current.as_ref().filter(|_| role(event) == Role::User)?;
    Some(Owner { process: thread.process.clone(), source: OwnerSource::Lock })
}

/// The process whose doing the end of the connection is: it closed, shut down or killed it. Who merely
/// processes the peer's reset from the backlog leaves another error than these.
pub fn ender(event: &KernelEvent) -> Option<&Process> {
    let ends = match event.detail {
        Detail::ResetSent { trigger, .. } => trigger.is_none(),
        Detail::StateChanged { new, .. } => match new {
            TcpState::FinWait1 | TcpState::LastAck => true,
            TcpState::Close => [0, ECONNABORTED].contains(&errno(event)),
            TcpState::Established
            | TcpState::SynSent
            | TcpState::SynRecv
            | TcpState::FinWait2
            | TcpState::TimeWait
            | TcpState::CloseWait
            | TcpState::Listen
            | TcpState::Closing
            | TcpState::NewSynRecv => false,
        },
        Detail::Retransmit { .. }
        | Detail::SynackRetransmit { .. }
        | Detail::ResetReceived
        | Detail::BufLimitExceeded { .. }
        | Detail::RcvqueueFull { .. }
        | Detail::PacketDropped { .. }
        | Detail::SockDestroyed => false,
    };
    event.current.as_ref().filter(|_| ends).map(|thread| &thread.process)
}
