//! The road of one event, in one place: **read this first**.
//!
//! ```text
//! source -> Frame -> decode -> Event -> correlate -> Observed -> diagnose -> Sink
//! ```
//!
//! 1. A source (`source::kernel`, or a recording) gives [`Frame`]s: bytes as the kernel side wrote them,
//!    and facts about the host. Recordings are made of frames, so whatever follows cannot tell a live run
//!    from a replay. Nothing that follows reads a clock, /proc or the kernel.
//! 2. [`decode`](crate::decode) makes a typed [`Event`] of it, or an error that is counted under its reason.
//! 3. [`correlate`](crate::correlate) ties it to a connection, an owner and a listener, and remembers.
//! 4. [`diagnose`](crate::diagnose) says why a connection stalled or died.
//! 5. The [`Sink`] gets kernel events, correlated, and diagnoses: it prints and counts. Queries read what
//!    [`Pipeline::correlator`] remembers.
//!
//! All of it is synchronous and runs where the source is read; a slow reader of the output is the sink's
//! business and never holds up the source.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use agent_common::signal;

use crate::correlate::Correlator;
use crate::correlate::limits::{Evicted, Limits};
use crate::correlate::observed::Observed;
use crate::correlate::place::{Place, Whose};
use crate::correlate::shared::SharedId;
use crate::decode::{DecodeError, decode};
use crate::diagnose::tracker::Tracker;
use crate::diagnose::{Diagnosis, Phase};
use crate::event::{Event, Fact, Owner, Process};
use crate::export::feed::Feed;
use crate::export::line::Gap;
use crate::export::metrics::{self, Examples, Tallies, Tally, Workload};
use crate::export::words::SIGNALS;
use crate::source::frame::Frame;

/// Takes what the pipeline makes.
pub trait Sink {
    /// A kernel event with all that was known about it when it came.
    fn observed(&mut self, observed: Arc<Observed>);
    /// Why a connection stalled or died.
    fn diagnosed(&mut self, diagnosed: Arc<Diagnosed>);
    /// Events that have no line of their own.
    fn gap(&mut self, gap: Arc<Gap>);
}

/// A diagnosis, with what a line about it needs to name the connection.
#[derive(Clone, Debug)]
pub struct Diagnosed {
    /// Why.
    pub diagnosis: Diagnosis,
    /// Wall clock then, ns since 1970 UTC.
    pub realtime: i64,
    /// What both hosts call the connection.
    pub shared: Option<SharedId>,
    /// Inode of the network namespace.
    pub netns: u32,
    /// This host's side.
    pub local: SocketAddr,
    /// The peer.
    pub remote: SocketAddr,
    /// The best known owner.
    pub owner: Option<Owner>,
    /// Who ended the connection.
    pub ended_by: Option<Process>,
    /// Where the socket lives.
    pub place: Place,
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

/// Signals told as lost: as many words as there are, and one more would be an invention.
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

/// Decodes, correlates, hands on.
#[derive(Debug)]
pub struct Pipeline<S> {
    correlator: Correlator,
    tracker: Tracker,
    counts: Counts,
    examples: Examples,
    sink: S,
}

impl<S: Sink> Pipeline<S> {
    /// An empty pipeline.
    pub fn new(limits: Limits, sink: S) -> Self {
        Self {
            correlator: Correlator::new(limits),
            tracker: Tracker::default(),
            counts: Counts::default(),
            examples: Examples::default(),
            sink,
        }
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
        match &event {
            Event::Kernel(kernel) => self.settle(kernel.time),
            Event::Held(held) => return self.held(held.time, event),
            Event::Fact(Fact::Settle { time }) => self.settle(*time),
            Event::Fact(Fact::WalkDone { .. }) => self.tracker.prune(&self.correlator),
            Event::Fact(fact) => {
                self.tracker.follow_fact(fact);
                self.tell_gap(fact);
            }
        }
        if let Some(observed) = self.correlator.apply(event) {
            if let Some(connection) = observed.connection.and_then(|id| self.correlator.connection_by_id(id))
            {
                self.examples.observed(&observed, connection);
            }
            let observed = Arc::new(observed);
            self.sink.observed(Arc::clone(&observed));
            let told = self.tracker.follow(&mut self.correlator, &observed);
            for diagnosis in told {
                self.tell(diagnosis, Some(&observed));
            }
        }
        if ends {
            let places = self.correlator.places();
            self.tracker.forget_gone(places);
            self.examples.retain(|cgroup, netns| places.whose(cgroup, netns) != Whose::Gone);
        }
    }

    fn tell_gap(&mut self, fact: &Fact) {
        if let Some(gap) = Gap::of(fact, self.correlator.host()) {
            self.sink.gap(Arc::new(gap));
        }
    }

    fn held(&mut self, time: u64, event: Event) {
        self.correlator.apply(event);
        let Some(id) = self.correlator.last_held() else { return };
        if let Some(diagnosis) = self.tracker.follow_held(&self.correlator, id, time) {
            self.tell(diagnosis, None);
        }
    }

    /// Judges what waited for more to be told, until `now` of `CLOCK_MONOTONIC`.
    pub fn settle(&mut self, now: u64) {
        for (diagnosis, stray) in self.tracker.settle(&mut self.correlator, now) {
            self.tell(diagnosis, stray.as_deref());
        }
    }

    fn tell(&mut self, diagnosis: Diagnosis, observed: Option<&Observed>) {
        let connection = diagnosis.connection.and_then(|id| self.correlator.connection_by_id(id));
        if let Some(connection) = connection.filter(|_| diagnosis.phase == Phase::Died) {
            let realtime = self.correlator.realtime(diagnosis.time);
            self.examples.died(connection, diagnosis.cause, realtime);
        }
        if let Some(diagnosed) = self.correlator.name(diagnosis, observed) {
            self.sink.diagnosed(Arc::new(diagnosed));
        }
    }

    /// What waits to be judged, and what was counted of stalls and deaths.
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// What is remembered.
    pub fn correlator(&self) -> &Correlator {
        &self.correlator
    }

    /// What went through.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// What the metrics tell of the pipeline itself.
    pub fn tally(&self) -> Tally {
        let (evicted, sizes) = (self.correlator.evicted(), self.correlator.sizes());
        let Evicted { connections, history, listeners, requests, stacks, wants, families, places } = evicted;
        Tally {
            decode_errors: DecodeError::REASONS.into_iter().zip(self.counts.decode_errors).collect(),
            evicted: BTreeMap::from([
                ("connections", connections),
                ("families", families),
                ("history", history),
                ("lessons", self.tracker.lessons().left_out()),
                ("listeners", listeners),
                ("requests", requests),
                ("stacks", stacks),
                ("wants", wants),
                ("places", places),
            ]),
            connections: BTreeMap::from([("live", sizes.connections as u64), ("dead", sizes.history as u64)]),
            stats: self.tracker.stats().clone(),
            examples: self.examples.clone(),
            families: metrics::process_family_tally(self.correlator.families().iter()),
            walks: self.correlator.families().walks(),
            cgroups: metrics::cgroup_tally(self.correlator.cgroups(), self.correlator.places()),
            owners: self.correlator.places().workloads(),
        }
    }

    /// See [`Tallies::workloads`].
    pub fn workloads(&self, of: &[(u64, u32)]) -> Vec<Option<Workload>> {
        let places = self.correlator.places();
        of.iter().map(|&(cgroup, netns)| Workload::of(cgroup, &places.whose(cgroup, netns))).collect()
    }

    /// Where it went.
    pub fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }
}

impl<S: Sink + Send> Tallies for Mutex<Pipeline<S>> {
    fn tally(&self) -> Tally {
        self.lock().unwrap_or_else(PoisonError::into_inner).tally()
    }

    fn workloads(&self, of: &[(u64, u32)]) -> Vec<Option<Workload>> {
        self.lock().unwrap_or_else(PoisonError::into_inner).workloads(of)
    }
}

impl Counts {
    fn count(&mut self, event: &Event) {
        match event {
            Event::Kernel(event) => self.records[usize::from(event.detail.signal())] += 1,
            Event::Held(_) => self.records[usize::from(signal::SOCK_HELD)] += 1,
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
