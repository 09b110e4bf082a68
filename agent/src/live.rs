//! The live agent: the kernel joined to the pipeline.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::timeout;

use crate::correlate::limits::Limits;
use crate::export::feed::Feed;
use crate::export::metrics::{Tallies, Tally};
use crate::export::why::{self, Report, Stories, Wanted};
use crate::pipeline::Pipeline;
use crate::source::frame::Frame;
use crate::source::kernel::facts;
use crate::source::kernel::ring::Ring;

/// How often it is asked, while no record comes, whether a walk over open files is due.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// The same, while deaths wait to be judged.
const SETTLE_INTERVAL: Duration = Duration::from_millis(50);

/// Events younger than this, ns, may not have been read yet.
const IN_THE_RING: u64 = 50_000_000;

/// The pipeline, shared with who asks it: queries and scrapes hold it for a moment between two batches.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Mutex<Pipeline<Feed>>>);

impl Shared {
    /// An empty pipeline that publishes to `feed`.
    pub fn new(limits: Limits, feed: Feed) -> Self {
        Self(Arc::new(Mutex::new(Pipeline::new(limits, feed))))
    }

    /// The pipeline, for as long as the guard lives.
    pub fn lock(&self) -> MutexGuard<'_, Pipeline<Feed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, frames: &mut Vec<Frame>) {
        let mut pipeline = self.lock();
        for frame in frames.drain(..) {
            pipeline.push(&frame);
        }
    }
}

impl Tallies for Shared {
    fn tally(&self) -> Tally {
        self.lock().tally()
    }
}

impl Stories for Shared {
    fn why(&self, wanted: &Wanted) -> Option<Report> {
        let pipeline = self.lock();
        why::report(pipeline.correlator(), pipeline.tracker(), &wanted.0)
    }
}

/// Feeds the pipeline for as long as the kernel can be read.
pub async fn run(mut ring: Ring, shared: Shared) -> anyhow::Result<()> {
    let mut frames = Vec::new();
    ring.tell_facts(&mut frames).context("ask the host")?;
    shared.push(&mut frames);
    // Listeners, stalls and holders from before the start.
    walk(&mut ring, &shared, &mut frames)?;
    loop {
        // Losing the race against the timeout loses nothing: `next` is cancel safe.
        let wait = if shared.lock().tracker().is_waiting() { SETTLE_INTERVAL } else { ASK_INTERVAL };
        if let Ok(result) = timeout(wait, ring.next(&mut frames)).await {
            result.context("read the ring")?;
        }
        shared.push(&mut frames);
        shared.lock().settle(facts::monotonic()?.saturating_sub(IN_THE_RING));
        if shared.lock().correlator().wants_walk(facts::monotonic()?) {
            walk(&mut ring, &shared, &mut frames)?;
        }
    }
}

fn walk(ring: &mut Ring, shared: &Shared, frames: &mut Vec<Frame>) -> anyhow::Result<()> {
    ring.walk(frames).context("walk over the open files")?;
    shared.push(frames);
    Ok(())
}
