//! The road of one event, in one place: **read this first**.
//!
//! ```text
//! source -> Frame -> decode -> Event -> correlate -> Observed -> diagnose -> Sink
//! ```
//!
//! 1. A source (`source::kernel`, or a recording) gives [`Frame`]s: bytes as the kernel side wrote them,
//!    and facts about the host. Recordings are made of frames, so whatever follows cannot distinguish a live run
//!    from a replay. Nothing that follows reads a clock, /proc or the kernel.
//! 2. [`decode`](agent_model::decode) makes a typed [`Event`] of it, or an error that is counted under its reason.
//! 3. [`correlate`](agent_correlate) ties it to a connection, an owner and a listener, and remembers.
//! 4. [`diagnose`](agent_diagnose) says why a connection stalled or died.
//! 5. The [`Sink`] gets kernel events, correlated, and diagnoses: it prints and counts. Queries read what
//!    [`Pipeline::correlator`] remembers.
//!
//! All of it is synchronous and runs where the source is read; a slow reader of the output is the sink's
//! business and never holds up the source.

use std::collections::BTreeMap;
use std::sync::Arc;

use agent_common::signal;
use agent_correlate::Correlator;
use agent_correlate::connection::Connection;
use agent_correlate::observed::Observed;
use agent_correlate::place::Whose;
use agent_correlate::query::Selector;
use agent_diagnose::judge::{Judge, Verdicts};
use agent_diagnose::tracker::Tracker;
use agent_diagnose::{Diagnosed, Phase};
use agent_model::decode::{DecodeError, decode};
use agent_model::event::{Event, Fact};
use agent_model::frame::Frame;
use agent_model::limits::{Evicted, Limits};
use agent_model::words::SIGNALS;
use parking_lot::Mutex;

use crate::metrics;
use crate::metrics::{Examples, Tallies, Tally, Workload};
use crate::schema::Gap;
use crate::serve::feed::Feed;

/// Takes what the pipeline makes.
pub trait Sink {
    /// A kernel event with all that was known about it when it came.
    fn observed(&mut self, observed: Arc<Observed>);
    /// Why a connection stalled or died.
    fn diagnosed(&mut self, diagnosed: Arc<Diagnosed>);
    /// Events that have no line of their own.
    fn gap(&mut self, gap: Arc<Gap>);
}

impl<F: FnMut(Arc<Observed>)> Sink for F {
    fn observed(&mut self, observed: Arc<Observed>) {
        self(observed);
    }

    fn diagnosed(&mut self, _: Arc<Diagnosed>) {}

    fn gap(&mut self, _: Arc<Gap>) {}
}

impl Sink for Feed {
    fn observed(&mut self, observed: Arc<Observed>) {
        self.publish(observed);
    }

    fn diagnosed(&mut self, diagnosed: Arc<Diagnosed>) {
        self.publish_diagnosis(diagnosed);
    }

    fn gap(&mut self, gap: Arc<Gap>) {
        self.publish_gap(gap);
    }
}

/// Signals reported as lost: as many words as there are, and one more would be an invention.
const LOST_WORDS: usize = SIGNALS.len();

/// What went through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records decoded, by signal; see [`SIGNALS`].
    pub records: [u64; signal::END as usize],
    /// Facts decoded.
    pub facts: u64,
    /// Frames refused, by [`DecodeError::REASONS`].
    pub decode_errors: [u64; DecodeError::REASONS.len()],
    /// Records that the source lost before they could be frames, by signal word.
    pub lost: BTreeMap<Box<str>, u64>,
}

/// Decodes, judges, hands on.
#[derive(Debug)]
pub struct Pipeline<S> {
    judge: Judge,
    counts: Counts,
    out: Out<S>,
}

/// What follows from an event, on its way to the sink; and the last connection of each kind that was counted.
#[derive(Debug)]
struct Out<S> {
    examples: Examples,
    sink: S,
}

impl<S: Sink> Verdicts for Out<S> {
    fn observed(&mut self, observed: &Arc<Observed>, connection: Option<&Connection>) {
        if let Some(connection) = connection {
            self.examples.observed(observed, connection);
        }
        self.sink.observed(Arc::clone(observed));
    }

    fn diagnosed(&mut self, diagnosed: Diagnosed, connection: Option<&Connection>) {
        if let Some(connection) = connection.filter(|_| diagnosed.diagnosis.phase == Phase::Died) {
            self.examples.died(connection, diagnosed.diagnosis.cause, diagnosed.realtime);
        }
        self.sink.diagnosed(Arc::new(diagnosed));
    }
}

impl<S: Sink> Pipeline<S> {
    /// An empty pipeline.
    pub fn new(limits: Limits, sink: S) -> Self {
        let out = Out { examples: Examples::default(), sink };
        Self { judge: Judge::new(limits), counts: Counts::default(), out }
    }

    /// Takes one frame all the way.
    pub fn push(&mut self, frame: &Frame) {
        match decode(frame) {
            Ok(event) => self.apply(event),
            Err(error) => {
                log::debug!("frame refused: {error}");
                self.counts.decode_errors[error.index()] += 1;
            }
        }
    }

    fn apply(&mut self, event: Event) {
        self.counts.count(&event);
        let ends = matches!(event, Event::Fact(Fact::CgroupGone { .. }));
        if let Event::Fact(fact) = &event
            && let Some(gap) = Gap::of(fact, self.judge.correlator().host())
        {
            self.out.sink.gap(Arc::new(gap));
        }
        self.judge.apply(event, &mut self.out);
        if ends {
            let places = self.judge.correlator().places();
            self.out.examples.retain(|cgroup, netns| places.whose(cgroup, netns) != Whose::Gone);
        }
    }

    /// Judges what waited for more events, until `now` of `CLOCK_MONOTONIC`.
    pub fn settle(&mut self, now: u64) {
        self.judge.settle(now, &mut self.out);
    }

    /// What waits to be judged, and what was counted of stalls and deaths.
    pub fn tracker(&self) -> &Tracker {
        self.judge.tracker()
    }

    /// What is remembered.
    pub fn correlator(&self) -> &Correlator {
        self.judge.correlator()
    }

    /// Has the next walk over open files take in healthy connections that meet these conditions.
    pub fn seek(&mut self, conditions: &[Selector]) {
        self.judge.seek(conditions);
    }

    /// What went through.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// What the metrics show of the pipeline itself.
    pub fn tally(&self) -> Tally {
        let (correlator, tracker) = (self.judge.correlator(), self.judge.tracker());
        let sizes = correlator.sizes();
        Tally {
            decode_errors: DecodeError::REASONS.into_iter().zip(self.counts.decode_errors).collect(),
            evicted: self.evicted(),
            connections: BTreeMap::from([("live", sizes.connections as u64), ("dead", sizes.history as u64)]),
            stats: tracker.stats().clone(),
            examples: self.out.examples.clone(),
            families: metrics::process_family_tally(correlator.families().iter()),
            walks: correlator.families().walks(),
            cgroups: metrics::cgroup_tally(correlator.cgroups(), correlator.places()),
            owners: correlator.places().workloads(),
        }
    }

    /// Entries given up because a table was full, by table.
    fn evicted(&self) -> BTreeMap<&'static str, u64> {
        let Evicted { connections, history, listeners, requests, stacks, wants, families, places } =
            self.judge.correlator().evicted();
        BTreeMap::from([
            ("connections", connections),
            ("families", families),
            ("history", history),
            ("lessons", self.judge.tracker().outcomes().left_out()),
            ("listeners", listeners),
            ("requests", requests),
            ("stacks", stacks),
            ("wants", wants),
            ("places", places),
        ])
    }

    /// See [`Tallies::lost`].
    pub fn lost(&self) -> [(&'static str, u64); 2] {
        [("decode", self.counts.decode_errors.iter().sum()), ("evicted", self.evicted().values().sum())]
    }

    /// See [`Tallies::workloads`].
    pub fn workloads(&self, of: &[(u64, u32)]) -> Vec<Option<Workload>> {
        let places = self.judge.correlator().places();
        of.iter().map(|&(cgroup, netns)| Workload::of(cgroup, &places.whose(cgroup, netns))).collect()
    }

    /// Where it went.
    pub fn sink_mut(&mut self) -> &mut S {
        &mut self.out.sink
    }
}

impl<S: Sink + Send> Tallies for Mutex<Pipeline<S>> {
    fn tally(&self) -> Tally {
        self.lock().tally()
    }

    fn lost(&self) -> [(&'static str, u64); 2] {
        self.lock().lost()
    }

    fn workloads(&self, of: &[(u64, u32)]) -> Vec<Option<Workload>> {
        self.lock().workloads(of)
    }
}

impl Counts {
    fn count(&mut self, event: &Event) {
        match event {
            Event::Kernel(event) => self.records[usize::from(event.detail.number())] += 1,
            Event::SockHeld(_) => self.records[usize::from(signal::SOCK_HELD)] += 1,
            Event::Fact(fact) => self.count_fact(fact),
        }
    }

    fn count_fact(&mut self, fact: &Fact) {
        self.facts += 1;
        let Fact::Lost { signal, count } = fact else { return };
        if let Some(lost) = self.lost.get_mut(signal) {
            *lost = lost.saturating_add(*count);
        } else if self.lost.len() < LOST_WORDS {
            self.lost.insert(signal.clone(), *count);
        }
    }
}

#[cfg(test)]
mod tests;
