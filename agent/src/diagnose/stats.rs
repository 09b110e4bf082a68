//! What is counted of stalls and deaths.

use std::time::Duration;

use super::Cause;
use super::deadline::clock::Window;

/// Stages with a series of their own; all further ones share one.
pub const STAGES: usize = 15;

/// Upper bounds of stall durations, s: the RTO's doublings from 200 ms, up to `tcp_retries2` 15.
const STALL_SECONDS: &[f64] = &[0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1000.0];
/// Upper bounds of the RTO, s: `TCP_RTO_MIN` doubled, up to `TCP_RTO_MAX`.
const RTO_SECONDS: &[f64] = &[0.21, 0.42, 0.84, 1.7, 3.4, 6.8, 14.0, 28.0, 56.0, 120.0];
/// Upper bounds of the stage at recovery.
const STAGE_COUNTS: &[f64] = &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 15.0];
/// Upper bounds of the prediction's error, s.
const ERROR_SECONDS: &[f64] = &[-10.0, -1.0, -0.1, -0.01, 0.0, 0.01, 0.1, 1.0, 10.0];

/// Counts since the start.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    /// Deaths by cause, in the order of [`Cause::ALL`].
    pub deaths: Vec<u64>,
    /// Live stalls by stage, from 1; the last is for all further ones.
    pub stalled: [u64; STAGES + 1],
    /// How long stalls lasted, s.
    pub durations: Histogram,
    /// The timeout that burnt, s.
    pub timeouts: Histogram,
    /// Stage reached before recovery.
    pub recoveries: Histogram,
    /// Death minus the middle of the predicted interval, s.
    pub errors: Histogram,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            deaths: vec![0; Cause::ALL.len()],
            stalled: [0; STAGES + 1],
            durations: Histogram::new(STALL_SECONDS),
            timeouts: Histogram::new(RTO_SECONDS),
            recoveries: Histogram::new(STAGE_COUNTS),
            errors: Histogram::new(ERROR_SECONDS),
        }
    }
}

impl Stats {
    pub(super) fn died(&mut self, cause: Cause, times: u64) {
        self.deaths[cause as usize] += times;
    }

    pub(super) fn stall(&mut self, stage: u32) {
        self.stalled[slot(stage)] += 1;
    }

    pub(super) fn unstall(&mut self, stage: u32) {
        let count = &mut self.stalled[slot(stage)];
        *count = count.saturating_sub(1);
    }

    pub(super) fn timed_out(&mut self, rto: Duration) {
        self.timeouts.observe(rto.as_secs_f64());
    }

    pub(super) fn stalled_for(&mut self, time: Duration) {
        self.durations.observe(time.as_secs_f64());
    }

    pub(super) fn recovered(&mut self, stage: u32, time: Duration) {
        self.recoveries.observe(stage.into());
        self.stalled_for(time);
    }

    pub(super) fn predicted(&mut self, window: Window, died: u64) {
        let middle = window.earliest as f64 / 2.0 + window.latest as f64 / 2.0;
        self.errors.observe((died as f64 - middle) / 1e9);
    }
}

fn slot(stage: u32) -> usize {
    (stage.max(1) as usize - 1).min(STAGES)
}

/// A classic histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    fn observe(&mut self, value: f64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at] += 1;
        self.sum += value;
    }

    /// Upper bound and count of each bucket, not cumulative; the last bound is infinite.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        self.bounds.iter().copied().chain([f64::MAX]).zip(self.counts.iter().copied()).collect()
    }

    /// Values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> f64 {
        self.sum
    }
}
