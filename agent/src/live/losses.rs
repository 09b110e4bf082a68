//! What the kernel side could not send one by one.

use std::sync::Arc;

use agent_model::frame::Frame;
use agent_source::kernel::{Counters, Deltas, facts};
use anyhow::Context as _;

use super::setback::Setback;

/// How often the kernel side is asked, while records come; ns.
const INTERVAL: u64 = 1_000_000_000;

/// Asks what was lost and coalesced, after records came: an idle host is left alone.
pub(super) struct Losses {
    counters: Arc<Counters>,
    deltas: Deltas,
    due: Option<u64>,
    setback: Setback,
}

impl Losses {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self { counters, deltas: Deltas::default(), due: None, setback: Setback::default() }
    }

    /// When the kernel side is to be asked, ns of `CLOCK_MONOTONIC`.
    pub(super) fn due(&self) -> Option<u64> {
        self.due
    }

    /// Records came: the kernel side is asked within [`INTERVAL`].
    pub(super) fn note(&mut self, now: u64) {
        self.due.get_or_insert(now + INTERVAL);
    }

    /// Appends what was lost and coalesced since, if it is time. What cannot be read now is asked for again: nothing
    /// of it is gone.
    pub(super) fn append_due(&mut self, now: u64, frames: &mut Vec<Frame>) {
        if self.due.take_if(|due| *due <= now).is_none() {
            return;
        }
        let facts = self.deltas.since_asked(now, &self.counters).context("ask what was lost");
        let facts = self.setback.note(facts);
        if facts.is_none() || self.deltas.is_waiting() {
            self.note(now);
        }
        frames.extend(facts.into_iter().flatten().map(Frame::fact));
    }

    /// Appends all that is left: no later record stands for it.
    pub(super) fn append_all(&mut self, frames: &mut Vec<Frame>) -> anyhow::Result<()> {
        let facts =
            self.deltas.since_asked(facts::monotonic()?, &self.counters).context("ask what was lost")?;
        let buckets = self.counters.buckets().context("ask what was coalesced")?;
        let left = self.deltas.coalesced(u64::MAX, &buckets);
        frames.extend(facts.into_iter().chain(left).map(Frame::fact));
        Ok(())
    }
}
