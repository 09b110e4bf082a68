//! The live agent: the kernel joined to the pipeline.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::sleep;

use crate::correlate::limits::Limits;
use crate::export::feed::Feed;
use crate::export::metrics::{Tallies, Tally};
use crate::pipeline::Pipeline;
use crate::source::frame::Frame;
use crate::source::kernel::facts;
use crate::source::kernel::ring::{Ring, WALK_INTERVAL};

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
            () = walk_due(&shared, walked)? => walked = walk(&mut ring, &shared, &mut frames)?,
        }
        shared.push(&mut frames);
    }
}

/// Ends when a walk over open files would tell something new.
fn walk_due(shared: &Shared, walked: u64) -> anyhow::Result<impl Future<Output = ()> + use<>> {
    let due = shared.lock().correlator().walk_due();
    let now = facts::monotonic()?;
    let pause = due.map(|due| due.max(walked + WALK_INTERVAL.as_nanos() as u64).saturating_sub(now));
    Ok(async move {
        match pause {
            Some(pause) => sleep(Duration::from_nanos(pause)).await,
            None => std::future::pending().await,
        }
    })
}

/// Returns when it was, ns of `CLOCK_MONOTONIC`.
fn walk(ring: &mut Ring, shared: &Shared, frames: &mut Vec<Frame>) -> anyhow::Result<u64> {
    ring.walk(frames).context("walk over the open files")?;
    shared.push(frames);
    Ok(facts::monotonic()?)
}
