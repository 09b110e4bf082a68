//! What is counted of stalls and deaths.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_common::count::OTHER_CGROUP;
use agent_model::cause::Cause;
use agent_model::timers::clock::Window;

/// Stages with a series of their own; all further ones share one.
pub const STAGES: usize = 15;

/// Causes and places counted apart; all further ones share one place. As many as the kernel side's map has.
const PLACES: usize = 4096;

/// Upper bounds of stall durations, s: the RTO's doublings from 200 ms, up to `tcp_retries2` 15.
const STALL_SECONDS: &[f64] = &[0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1000.0];
/// Upper bounds of the RTO, s: `TCP_RTO_MIN` doubled, up to `TCP_RTO_MAX`.
const RTO_SECONDS: &[f64] = &[0.21, 0.42, 0.84, 1.7, 3.4, 6.8, 14.0, 28.0, 56.0, 120.0];
/// Upper bounds of the stage at recovery.
const STAGE_COUNTS: &[f64] = &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 15.0];
/// Upper bounds of the prediction's error, s: a jiffy, the timer wheel's steps, and far off.
const ERROR_SECONDS: &[f64] = &[0.004, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0];

/// Counts since the start.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    /// Deaths by cause, in the order of [`Cause::ALL`].
    pub deaths: Vec<u64>,
    /// The same by cause, cgroup (0 if not known) and network namespace.
    pub deaths_in: BTreeMap<(Cause, u64, u32), u64>,
    /// Live stalls by stage, from 1; the last is for all further ones.
    pub stalled: [u64; STAGES + 1],
    /// How long stalls lasted, s.
    pub durations: Histogram,
    /// Timeouts that expired, s.
    pub timeouts: Histogram,
    /// Stage reached before recovery.
    pub recoveries: Histogram,
    /// Death before the middle of the predicted interval, s.
    pub early: Histogram,
    /// Death after it, s.
    pub late: Histogram,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            deaths: vec![0; Cause::ALL.len()],
            deaths_in: BTreeMap::new(),
            stalled: [0; STAGES + 1],
            durations: Histogram::new(STALL_SECONDS),
            timeouts: Histogram::new(RTO_SECONDS),
            recoveries: Histogram::new(STAGE_COUNTS),
            early: Histogram::new(ERROR_SECONDS),
            late: Histogram::new(ERROR_SECONDS),
        }
    }
}

impl Stats {
    /// A little of everything, for tests.
    #[cfg(any(test, feature = "fixture"))]
    pub fn some() -> Self {
        let mut stats = Self::default();
        stats.died(Cause::ClosedWithUnreadData, 3, 4177, 4_026_531_840);
        for stage in [1, 2, 2, 40] {
            stats.stall(stage);
        }
        stats.unstall(2);
        stats.timed_out(Duration::from_millis(204));
        stats.recovered(3, Duration::from_millis(1428));
        stats.predicted(Window { earliest: 1_000_000_000, latest: 1_008_000_000 }, 1_006_000_000);
        stats
    }

    pub(super) fn died(&mut self, cause: Cause, times: u64, cgroup: u64, netns: u32) {
        self.deaths[cause as usize] += times;
        let key = (cause, cgroup, netns);
        let known = self.deaths_in.len() < PLACES || self.deaths_in.contains_key(&key);
        let key = if known { key } else { (cause, OTHER_CGROUP, 0) };
        *self.deaths_in.entry(key).or_default() += times;
    }

    /// Forgets those places of which `lives` says no.
    pub(super) fn retain(&mut self, lives: impl Fn(u64, u32) -> bool) {
        self.deaths_in.retain(|(_, cgroup, netns), _| lives(*cgroup, *netns));
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
        let error = (died as f64 - middle) / 1e9;
        let side = if error < 0.0 { &mut self.early } else { &mut self.late };
        side.observe(error.abs());
    }
}

fn slot(stage: u32) -> usize {
    (stage.max(1) as usize - 1).min(STAGES)
}

/// Words of the stages, as they are counted.
pub const STAGE_WORDS: [&str; STAGES + 1] =
    ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16+"];

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
        self.bounds.iter().copied().chain([f64::INFINITY]).zip(self.counts.iter().copied()).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_falls_into_one_bucket() {
        let Stats { stalled, recoveries, late, early, .. } = Stats::some();
        assert_eq!((stalled[0], stalled[1], stalled[STAGES]), (1, 1, 1));
        assert_eq!(recoveries.buckets()[2], (3.0, 1));
        assert_eq!((recoveries.count(), late.count(), early.count()), (1, 1, 0));
        assert!((late.sum() - 0.002).abs() < 1e-6);
    }

    #[test]
    fn places_without_end_share_one() {
        let mut stats = Stats::default();
        for cgroup in 1..=PLACES as u64 + 5 {
            stats.died(Cause::PeerReset, 2, cgroup, 1);
        }
        assert_eq!(stats.deaths_in.len(), PLACES + 1);
        assert_eq!(stats.deaths_in[&(Cause::PeerReset, OTHER_CGROUP, 0)], 10);
        stats.retain(|cgroup, _| cgroup == 7);
        assert_eq!(stats.deaths_in.values().sum::<u64>(), 2);
        assert_eq!(stats.deaths[Cause::PeerReset as usize], 2 * (PLACES as u64 + 5));
    }

    #[test]
    fn what_was_not_counted_is_not_taken_away() {
        let mut stats = Stats::default();
        stats.unstall(7);
        assert_eq!(stats, Stats::default());
    }
}
