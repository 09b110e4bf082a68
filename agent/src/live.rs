//! The live agent: the kernel joined to the pipeline.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::sleep;

use crate::correlate::limits::Limits;
use crate::export::feed::Feed;
use crate::export::metrics::{Tallies, Tally};
use crate::export::why::{self, Report, Stories, Wanted};
use crate::pipeline::Pipeline;
use crate::source::frame::Frame;
use crate::source::kernel::facts;
use crate::source::kernel::ring::{Ring, WALK_INTERVAL};

/// [`WALK_INTERVAL`] in ns.
const WALK_PAUSE: u64 = WALK_INTERVAL.as_nanos() as u64;

/// How often the ring is looked after while deaths wait to be judged.
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

/// Feeds the pipeline for as long as the kernel can be read. An idle host wakes nobody: without records
/// it waits until a walk is due, or for ever.
pub async fn run(mut ring: Ring, shared: Shared) -> anyhow::Result<()> {
    let mut frames = Vec::new();
    ring.tell_facts(&mut frames).context("ask the host")?;
    shared.push(&mut frames);
    // Listeners, stalls and holders from before the start.
    let mut walked = walk(&mut ring, &shared, &mut frames)?;
    loop {
        // Losing the race against the clock loses nothing: `next` is cancel safe.
        tokio::select! {
            result = ring.next(&mut frames) => result.context("read the ring")?,
            () = pause(&shared, walked)? => (),
        }
        shared.push(&mut frames);
        let now = facts::monotonic()?;
        shared.lock().settle(now.saturating_sub(IN_THE_RING));
        if now >= walked + WALK_PAUSE && shared.lock().correlator().wants_walk(now) {
            walked = walk(&mut ring, &shared, &mut frames)?;
        }
    }
}

/// Ends when there is something to do though no record came: a death to judge, or a walk over open files
/// that would tell something new.
fn pause(shared: &Shared, walked: u64) -> anyhow::Result<impl Future<Output = ()> + use<>> {
    let now = facts::monotonic()?;
    let pipeline = shared.lock();
    let walk = pipeline.correlator().walk_due().map(|due| due.max(walked + WALK_PAUSE).saturating_sub(now));
    let settle = pipeline.tracker().is_waiting().then_some(SETTLE_INTERVAL);
    let pause = walk.map(Duration::from_nanos).into_iter().chain(settle).min();
    Ok(async move {
        match pause {
            Some(pause) => sleep(pause).await,
            None => std::future::pending().await,
        }
    })
}

/// Returns when it was, ns of `CLOCK_MONOTONIC`.
fn walk(ring: &mut Ring, shared: &Shared, frames: &mut Vec<Frame>) -> anyhow::Result<u64> {
    let failed = "walk over the open files";
    if let Some(mut walk) = ring.begin_walk().context(failed)? {
        while walk.next(frames).context(failed)? {
            shared.push(frames);
        }
        ring.end_walk(&walk, frames).context(failed)?;
        shared.push(frames);
    }
    Ok(facts::monotonic()?)
}
