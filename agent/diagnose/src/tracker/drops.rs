//! When to say that this host drops a connection's packets: at the drop, and not at its timeout alone. Of packets
//! that never leave there is no timeout.

use agent_correlate::Correlator;
use agent_correlate::observed::{ConnectionId, Observed};
use agent_model::cause::Cause;
use agent_model::drops::Class;
use agent_model::event::{Detail, HostFacts};
use agent_model::timers::Moment;

use super::{STALLS, Subject, Tracker};
use crate::story::Sight;
use crate::{Diagnosis, Phase, Story, diagnose};

/// How long after it was said that this host drops packets of a connection it is said again, ns.
const DROPS_AGAIN: u64 = 30_000_000_000;

impl Tracker {
    /// Of a connection whose packets die on this host somebody is told at once; again if it goes on for long.
    pub(super) fn follow_drop(&mut self, observed: &Observed) {
        let Some(id) = observed.sender.or(observed.connection) else { return };
        let time = observed.event.time;
        // Each timeout says it.
        if self.stalls.get(&id).and_then(|stall| stall.cause).is_some_and(Cause::is_drop) {
            return;
        }
        let is_told = self.dropped.get(&id).is_some_and(|told| time < told.saturating_add(DROPS_AGAIN));
        if !is_told && (self.dropped.len() < STALLS || self.dropped.contains_key(&id)) {
            self.dropped.insert(id, time);
            self.hold(Subject::Drop(id), time);
        }
    }

    /// If it does not matter yet, the next drop may say so.
    pub(super) fn of_drop(&mut self, correlator: &Correlator, id: ConnectionId) -> Option<Diagnosis> {
        let live = correlator.connection_by_id(id).filter(|connection| connection.is_live());
        let story = live.map(|connection| {
            let moment = Moment::Rest;
            Story::of(correlator, connection, Phase::Stalled).at(Sight { time: connection.last, moment })
        });
        let told = story.as_ref().and_then(diagnose).filter(|diagnosis| diagnosis.cause.is_drop());
        if told.is_none() {
            self.dropped.remove(&id);
        }
        told
    }
}

/// A packet was dropped on its way, not for want of room in its socket.
pub(super) fn is_drop_on_the_way(observed: &Observed, host: &HostFacts) -> bool {
    let Detail::PacketDropped(dropped) = observed.event.detail else { return false };
    dropped.class(host) != Class::Shortage
}
