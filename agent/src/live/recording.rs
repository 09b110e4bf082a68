//! What the stream of a live run carries, on its way into a recording.

use std::sync::Arc;
use std::time::Duration;

use agent_model::counters::Counters;
use agent_model::event::Fact;
use agent_model::frame::Frame;
use agent_source::kernel::{Deltas, facts};
use agent_source::recording::Recorder;
use anyhow::Context as _;
use tokio::time::{Instant, sleep_until};

use super::setback::Setback;

/// How often what has come is written out.
const TICK: Duration = Duration::from_secs(1);

/// The exact counters are read every so many ticks: reading the full map takes 20 ms.
const COUNTS_TICKS: u32 = 10;

/// Takes the frames of a live run, and adds to them what the kernel side counted.
pub struct Tap {
    recorder: Recorder,
    counters: Arc<dyn Counters>,
    deltas: Deltas,
    /// Network namespaces that are recorded; all if empty.
    netns: Vec<u32>,
    due: Instant,
    ticks: u32,
    setback: Setback,
}

impl Tap {
    /// Of these network namespaces only, unless there are none.
    pub fn new(recorder: Recorder, counters: Arc<dyn Counters>, netns: Vec<u32>) -> Self {
        let (deltas, setback) = (Deltas::default(), Setback::default());
        Self { recorder, counters, deltas, netns, due: Instant::now(), ticks: 0, setback }
    }

    /// Waits until [`Self::append_due`] is due. Safe to cancel.
    pub async fn tick(&self) {
        sleep_until(self.due).await;
    }

    /// Appends what is due of the counters, and has written out what came before. Counters that cannot be read now are
    /// in the recording a little later.
    pub fn append_due(&mut self, frames: &mut Vec<Frame>) {
        self.recorder.flush();
        if self.ticks.is_multiple_of(COUNTS_TICKS) {
            let appended = self.append_all(frames);
            self.setback.note(appended);
        }
        self.ticks += 1;
        self.due = Instant::now() + TICK;
    }

    /// Appends all counters.
    pub fn append_all(&mut self, frames: &mut Vec<Frame>) -> anyhow::Result<()> {
        let mut counts = self.counters.counts().map_err(anyhow::Error::from_boxed).context("read COUNTS")?;
        counts.retain(|(key, _)| self.wants(key.netns));
        let facts = self.deltas.counts(facts::monotonic()?, &counts);
        frames.extend(facts.into_iter().map(Frame::fact));
        frames.extend(self.counters.tcp_memory().map(|memory| Frame::fact(Fact::TcpMemory(memory))));
        Ok(())
    }

    /// Takes frames, without waiting for the disk.
    pub fn take(&mut self, mut frames: Vec<Frame>) {
        frames.retain(|frame| frame.netns().is_none_or(|netns| self.wants(netns)));
        self.recorder.tap(frames);
    }

    fn wants(&self, netns: u32) -> bool {
        self.netns.is_empty() || self.netns.contains(&netns)
    }
}
