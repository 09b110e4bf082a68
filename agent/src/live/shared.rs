//! The pipeline, and who asks it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_advise::{Gathered, gather};
use agent_diagnose::families;
use agent_diagnose::families::Listing;
use agent_model::limits::Limits;
use agent_source::kernel::facts;
use parking_lot::{Mutex, MutexGuard};

use super::holds::{Holds, Question};
use super::walks::Walks;
use crate::answers::top::Overview;
use crate::answers::why::{Answers, Wanted, WhyReport};
use crate::answers::{top, why};
use crate::metrics::{Tallies, Tally, Workload};
use crate::pipeline::Pipeline;
use crate::serve::feed::Feed;

/// A scrape asks for a walk if the last one is older than this.
const SCRAPE_AGE: Duration = Duration::from_secs(10);

/// The pipeline, shared with who asks it: queries and scrapes hold it for a moment between two batches. They wait for
/// it, so none is asked by a thread that serves others.
#[derive(Clone, Debug)]
pub struct Shared {
    pipeline: Arc<Mutex<Pipeline<Feed>>>,
    walks: Arc<Walks>,
    holds: Arc<Holds>,
}

impl Shared {
    /// An empty pipeline that publishes to `feed`.
    pub fn new(limits: Limits, feed: Feed) -> Self {
        let pipeline = Arc::new(Mutex::new(Pipeline::new(limits, feed)));
        Self { pipeline, walks: Arc::new(Walks::new()), holds: Arc::default() }
    }

    /// The pipeline, for as long as the guard lives.
    pub(super) fn lock(&self) -> MutexGuard<'_, Pipeline<Feed>> {
        self.pipeline.lock()
    }

    /// Where walks are asked for.
    pub(super) fn walks(&self) -> &Walks {
        &self.walks
    }

    /// Logs how long each question has held the pipeline at most.
    pub(super) fn log_holds(&self) {
        log::debug!("{}", self.holds);
    }

    /// Answers from the pipeline, and gives it back to who waits for it, above all to the thread that reads.
    fn ask<T>(&self, question: Question, answer: impl FnOnce(&Pipeline<Feed>) -> T) -> T {
        let pipeline = self.lock();
        let began = Instant::now();
        let answer = answer(&pipeline);
        self.holds.note(question, began.elapsed());
        MutexGuard::unlock_fair(pipeline);
        answer
    }
}

impl Tallies for Shared {
    /// Families are shown at the next scrape as they are now.
    fn tally(&self) -> Tally {
        self.walks.ask(SCRAPE_AGE);
        self.ask(Question::Scrape, Pipeline::tally)
    }

    fn lost(&self) -> [(&'static str, u64); 2] {
        self.ask(Question::Top, Pipeline::lost)
    }

    fn workloads(&self, of: &[(u64, u32)]) -> Vec<Option<Workload>> {
        self.ask(Question::Scrape, |pipeline| pipeline.workloads(of))
    }
}

impl Answers for Shared {
    fn walk(&self, age: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.walks.wait(age))
    }

    fn families(&self) -> Listing {
        let now = facts::monotonic().unwrap_or(0);
        self.ask(Question::Families, |pipeline| families::listing(pipeline.correlator(), now))
    }

    fn gathered(&self) -> Gathered {
        let now = facts::monotonic().unwrap_or(0);
        self.ask(Question::Advise, |pipeline| gather(pipeline.correlator(), pipeline.tracker(), now))
    }

    fn seek(&self, wanted: &Wanted) {
        self.lock().seek(&wanted.conditions);
    }

    fn why(&self, wanted: &Wanted) -> Option<WhyReport> {
        self.ask(Question::Why, |pipeline| why::report(pipeline.correlator(), pipeline.tracker(), wanted))
    }

    fn overview(&self) -> Overview {
        self.ask(Question::Top, |pipeline| top::overview(pipeline.correlator(), pipeline.tracker()))
    }
}
