//! Which process owns a socket: which source of that knowledge takes precedence, and when `current` is believed.

use std::collections::HashSet;
use std::sync::Arc;

use agent_model::event::{KernelEvent, Owner, OwnerSource, Process};
use agent_model::limits::OWNERS;

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

/// The owner that `current` proves to be one: whoever holds the lock uses the socket, except in `tcp_abort` and
/// when the socket is destroyed (docs/kernel.md, "The task that runs is the socket's user only with the lock").
pub fn believed(event: &KernelEvent) -> Option<Owner> {
    let thread = event.current.as_ref().filter(|_| !event.signal().is_by_stranger(event))?;
    Some(Owner { process: thread.process.clone(), source: OwnerSource::Lock })
}

/// The process whose doing the end of the connection is: it closed, shut down or killed it.
pub fn ender(event: &KernelEvent) -> Option<&Process> {
    let current = event.current.as_ref().filter(|_| event.signal().is_ended_by_task(event));
    current.map(|thread| &thread.process)
}
