//! When to say that memory was refused: at the first refusal, not at each, and again once all of TCP is out of memory.

use agent_correlate::Correlator;
use agent_correlate::connection::Connection;
use agent_correlate::observed::{ConnectionId, Observed};
use agent_correlate::walks::is_shortage;
use agent_model::cause::Cause;
use agent_model::event::{Detail, HostFacts, TcpMemory};
use agent_model::signals::BufLimitExceeded;

use super::{STALLS, Subject, Tracker};
use crate::{Diagnosis, Phase, Story, diagnose};

impl Tracker {
    /// Takes note of a shortage that begins with this event, or becomes the whole host's.
    pub(super) fn follow_shortage(
        &mut self,
        correlator: &Correlator,
        connection: &Connection,
        observed: &Observed,
    ) {
        let grows = is_above_high(&observed.event.detail, correlator.tcp_memory())
            && self.out_of_memory.len() < STALLS
            && self.out_of_memory.insert(connection.id);
        if grows || begins(connection, observed, correlator.host()) {
            self.hold(Subject::Shortage(connection.id), observed.event.time);
        }
    }

    /// What is said of it, once somebody looked who has the memory.
    pub(super) fn shortage(&mut self, correlator: &Correlator, id: ConnectionId) -> Option<Diagnosis> {
        let connection = correlator.connection_by_id(id).filter(|connection| connection.is_live())?;
        let diagnosis = diagnose(&Story::of(correlator, connection, Phase::Stalled))?;
        if diagnosis.cause == Cause::OutOfTcpMemory && self.out_of_memory.len() < STALLS {
            // The limits may have been told after the refusal.
            self.out_of_memory.insert(id);
        }
        // What else stalls it is said at its timeouts, with what comes.
        (is_of_memory(diagnosis.cause) || !connection.is_stalled()).then_some(diagnosis)
    }
}

fn is_of_memory(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::OutOfTcpMemory | Cause::MemoryPressure | Cause::CgroupMemoryLimit | Cause::ReceiveBufferFull
    )
}

/// Memory was refused, or a segment dropped, for the first time in a row.
fn begins(connection: &Connection, observed: &Observed, host: &HostFacts) -> bool {
    let stands_for = observed.event.stands_for;
    let last = connection.timeline.last();
    last.is_some_and(|entry| entry.count == stands_for && is_shortage(&entry.what, host))
}

/// Memory was refused since TCP as a whole had all that it may have.
fn is_above_high(detail: &Detail, memory: Option<&TcpMemory>) -> bool {
    let Detail::BufLimitExceeded(BufLimitExceeded { allocated, .. }) = detail else { return false };
    memory
        .and_then(TcpMemory::tcp_mem)
        .is_some_and(|[.., high]| u64::try_from(*allocated).is_ok_and(|pages| pages > high))
}
