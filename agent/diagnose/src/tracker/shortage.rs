//! When to say that memory was refused: at the first refusal, not at each.

use agent_correlate::Correlator;
use agent_correlate::connection::Connection;
use agent_correlate::observed::{ConnectionId, Observed};
use agent_correlate::walks::is_shortage;
use agent_model::cause::Cause;
use agent_model::event::HostFacts;

use crate::{Diagnosis, Phase, Story, diagnose};

/// Whether a shortage begins with this event: memory was refused, or a segment dropped.
pub(super) fn begins(connection: &Connection, observed: &Observed, host: &HostFacts) -> bool {
    let stands_for = observed.event.stands_for;
    let last = connection.timeline.last();
    last.is_some_and(|entry| entry.count == stands_for && is_shortage(&entry.what, host))
}

/// What is said of it, once somebody looked who has the memory.
pub(super) fn judge(correlator: &Correlator, id: ConnectionId) -> Option<Diagnosis> {
    let connection = correlator.connection_by_id(id).filter(|connection| connection.is_live())?;
    let diagnosis = diagnose(&Story::of(correlator, connection, Phase::Stalled))?;
    // What else stalls it is said at its timeouts, with what comes.
    let is_memory = matches!(
        diagnosis.cause,
        Cause::OutOfTcpMemory | Cause::MemoryPressure | Cause::CgroupMemoryLimit | Cause::ReceiveBufferFull
    );
    (is_memory || !connection.is_stalled()).then_some(diagnosis)
}
