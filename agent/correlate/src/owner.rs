//! Whose socket is it? Precedence and belief.

use std::collections::HashSet;
use std::sync::Arc;

use agent_model::event::{KernelEvent, Owner, OwnerSource, Process};
use agent_model::limits::OWNERS;

/// Replaces `known` unless it was learnt in a better way. Of two learnt alike the newer holds: a forked
/// child that closes its connection owns it more than its parent, which accepted it.
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
            // Those in use live on with their connections; they are only shared no more.
            self.0.clear();
        }
        self.0.insert(new.clone());
    }
}

fn is_weaker_or_equal(known: Option<&Owner>, source: OwnerSource) -> bool {
    known.is_none_or(|known| known.source <= source)
}

/// Whether only a walk over open files could tell the owner.
pub fn is_weak(known: Option<&Owner>) -> bool {
    is_weaker_or_equal(known, OwnerSource::Listener)
}

/// The same process, seen as the one that listens for the connection.
pub fn as_listener(owner: &Owner) -> Owner {
    Owner { process: owner.process.clone(), source: OwnerSource::Listener }
}

/// The owner that `current` proves to be one. KERNEL.md §6.1: who holds the lock uses the socket, but for
/// `tcp_abort` and the socket's burial.
pub fn believed(event: &KernelEvent) -> Option<Owner> {
    let thread = event.current.as_ref().filter(|_| !event.signal().is_by_stranger(event))?;
    Some(Owner { process: thread.process.clone(), source: OwnerSource::Lock })
}

/// The process whose doing the end of the connection is: it closed, shut down or killed it.
pub fn ender(event: &KernelEvent) -> Option<&Process> {
    let current = event.current.as_ref().filter(|_| event.signal().is_ended_by_task(event));
    current.map(|thread| &thread.process)
}
