//! Correlation and diagnosis joined: the verdicts that follow from each event, in order.

use std::sync::Arc;

use agent_correlate::Correlator;
use agent_correlate::connection::Connection;
use agent_correlate::observed::Observed;
use agent_correlate::query::Selector;
use agent_model::event::{Event, Fact};
use agent_model::limits::Limits;

use crate::tracker::Tracker;
use crate::{Diagnosed, Diagnosis};

/// Receives verdicts, each with the connection as it is at that moment.
pub trait Verdicts {
    /// A kernel event with all that was known about it when it came.
    fn observed(&mut self, observed: &Arc<Observed>, connection: Option<&Connection>);
    /// Why a connection stalled or died.
    fn diagnosed(&mut self, diagnosed: Diagnosed, connection: Option<&Connection>);
}

/// Remembers connections and says what has become of them. Pure: the same events give the same verdicts.
#[derive(Debug)]
pub struct Judge {
    correlator: Correlator,
    tracker: Tracker,
}

impl Judge {
    /// Nothing is known yet.
    pub fn new(limits: Limits) -> Self {
        Self { correlator: Correlator::new(limits), tracker: Tracker::default() }
    }

    /// Has the next walk over open files take in healthy connections that meet these conditions.
    pub fn seek(&mut self, conditions: &[Selector]) {
        self.correlator.seek(conditions);
    }

    /// Takes in one event.
    pub fn apply(&mut self, event: Event, to: &mut impl Verdicts) {
        match event {
            Event::Kernel(ref kernel) => {
                self.settle(kernel.time, to);
                self.kernel(event, to);
            }
            Event::SockHeld(ref held) => {
                let time = held.time;
                self.correlator.apply(event);
                self.holder(time, to);
            }
            Event::Fact(fact) => self.fact(fact, to),
        }
    }

    fn kernel(&mut self, event: Event, to: &mut impl Verdicts) {
        let Some(observed) = self.correlator.apply(event) else { return };
        let connection = observed.connection.and_then(|id| self.correlator.connection_by_id(id));
        let observed = Arc::new(observed);
        to.observed(&observed, connection);
        for diagnosis in self.tracker.follow(&mut self.correlator, &observed) {
            self.report(diagnosis, Some(&observed), to);
        }
    }

    fn holder(&mut self, time: u64, to: &mut impl Verdicts) {
        let Some(id) = self.correlator.last_holder() else { return };
        if let Some(diagnosis) = self.tracker.follow_holder(&self.correlator, id, time) {
            self.report(diagnosis, None, to);
        }
    }

    fn fact(&mut self, fact: Fact, to: &mut impl Verdicts) {
        if let Fact::Settle { time } = fact {
            self.settle(time, to);
        }
        if matches!(fact, Fact::WalkDone { .. }) {
            self.tracker.prune(&self.correlator);
        }
        self.tracker.follow_fact(&fact);
        let ends = matches!(fact, Fact::CgroupGone { .. });
        self.correlator.apply(Event::Fact(fact));
        if ends {
            self.tracker.forget_gone(self.correlator.places());
        }
    }

    /// Judges the deaths that waited for further events, until `now` of `CLOCK_MONOTONIC`.
    pub fn settle(&mut self, now: u64, to: &mut impl Verdicts) {
        for (diagnosis, stray) in self.tracker.settle(&mut self.correlator, now) {
            self.report(diagnosis, stray.as_deref(), to);
        }
    }

    fn report(&self, diagnosis: Diagnosis, observed: Option<&Observed>, to: &mut impl Verdicts) {
        let connection = diagnosis.connection.and_then(|id| self.correlator.connection_by_id(id));
        if let Some(diagnosed) = Diagnosed::new(&self.correlator, diagnosis, observed) {
            to.diagnosed(diagnosed, connection);
        }
    }

    /// What is remembered.
    pub fn correlator(&self) -> &Correlator {
        &self.correlator
    }

    /// What waits to be judged, and what was counted of stalls and deaths.
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }
}
