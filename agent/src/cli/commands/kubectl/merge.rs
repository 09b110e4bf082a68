//! Lines of several nodes in the order of their times.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// A line waits this long for earlier ones of slower streams.
const PATIENCE: Duration = Duration::from_millis(750);

/// What waits for its turn.
#[derive(Debug)]
pub(super) struct Merge<T> {
    patience: Duration,
    waiting: BTreeMap<(Timestamp, u64), (Instant, T)>,
    count: u64,
}

impl<T> Merge<T> {
    /// Of this many streams; a single one is in order by itself.
    pub(super) fn of(streams: usize) -> Self {
        let patience = if streams > 1 { PATIENCE } else { Duration::ZERO };
        Self { patience, waiting: BTreeMap::new(), count: 0 }
    }

    /// Takes what is dated `time`, and came `now`.
    pub(super) fn put(&mut self, time: Timestamp, now: Instant, what: T) {
        self.waiting.insert((time, self.count), (now, what));
        self.count += 1;
    }

    /// What has waited long enough, and all that was before it.
    pub(super) fn ready(&mut self, now: Instant) -> Vec<T> {
        let is_due = |since: &Instant| now.duration_since(*since) >= self.patience;
        let last = self.waiting.iter().rfind(|(_, (since, _))| is_due(since));
        let Some((&last, _)) = last else { return Vec::new() };
        let later = self.waiting.split_off(&(last.0, last.1 + 1));
        std::mem::replace(&mut self.waiting, later).into_values().map(|(_, what)| what).collect()
    }

    /// How long until something is ready.
    pub(super) fn pause(&self, now: Instant) -> Option<Duration> {
        let first = self.waiting.values().map(|(since, _)| *since).min()?;
        Some((first + self.patience).saturating_duration_since(now))
    }

    /// All that is left.
    pub(super) fn rest(self) -> impl Iterator<Item = T> {
        self.waiting.into_values().map(|(_, what)| what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_late_line_of_another_stream_comes_first() {
        let (mut merge, start) = (Merge::of(2), Instant::now());
        merge.put(at(2), start, "second");
        assert_eq!(merge.ready(start), [""; 0]);
        merge.put(at(1), start + PATIENCE / 2, "first");
        merge.put(at(3), start + PATIENCE / 2, "third");
        assert_eq!(merge.pause(start), Some(PATIENCE));
        assert_eq!(merge.ready(start + PATIENCE), ["first", "second"]);
        assert_eq!(merge.rest().collect::<Vec<_>>(), ["third"]);
    }

    #[test]
    fn of_the_same_time_the_first_to_come_is_first_and_one_stream_never_waits() {
        let (mut merge, start) = (Merge::of(1), Instant::now());
        merge.put(at(1), start, 1);
        merge.put(at(1), start, 2);
        assert_eq!(merge.pause(start), Some(Duration::ZERO));
        assert_eq!(merge.ready(start), [1, 2]);
        assert_eq!(merge.pause(start), None);
    }
}
