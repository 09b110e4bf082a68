//! What was published last, for readers that ask what they came too late for.

use std::collections::VecDeque;
use std::sync::Arc;

use agent_correlate::observed::Observed;
use agent_diagnose::Diagnosed;
use agent_source::kernel::facts;
use jiff::Timestamp;

use super::FeedItem;

/// Events kept: minutes of an ordinary host, at most 3 MiB.
const EVENTS: usize = 4096;
/// Diagnoses kept, so that no flood of events drives them out: at most 2 MiB.
const DIAGNOSES: usize = 1024;

/// The last events and the last diagnoses, each with its place in the order of both.
#[derive(Debug, Default)]
pub(super) struct Recent {
    published: u64,
    events: VecDeque<(u64, Arc<Observed>)>,
    diagnoses: VecDeque<(u64, Arc<Diagnosed>)>,
}

impl Recent {
    pub(super) fn event(&mut self, observed: &Arc<Observed>) {
        keep(&mut self.events, EVENTS, (self.published, Arc::clone(observed)));
        self.published += 1;
    }

    pub(super) fn diagnosis(&mut self, diagnosed: &Arc<Diagnosed>) {
        keep(&mut self.diagnoses, DIAGNOSES, (self.published, Arc::clone(diagnosed)));
        self.published += 1;
    }

    /// Whatever happened at `since` or later, in the order it was published. A clock that was set meanwhile hides
    /// nothing: `since` is of the clock as it is now, the times of the events are not.
    pub(super) fn since(&self, since: Timestamp) -> VecDeque<FeedItem> {
        let since = i64::try_from(since.as_nanosecond()).unwrap_or(i64::MAX);
        let since = facts::monotonic_at(since);
        let is_wanted = |time: u64| time.cast_signed() >= since;
        let events = self.events.iter().filter(|(_, event)| is_wanted(event.event.time));
        let diagnoses = self.diagnoses.iter().filter(|(_, diagnosed)| is_wanted(diagnosed.diagnosis.time));
        let events = events.map(|(place, event)| (*place, FeedItem::Event(Arc::clone(event))));
        let diagnoses =
            diagnoses.map(|(place, diagnosed)| (*place, FeedItem::Diagnosis(Arc::clone(diagnosed))));
        let mut all: Vec<_> = events.chain(diagnoses).collect();
        all.sort_unstable_by_key(|(place, _)| *place);
        all.into_iter().map(|(_, item)| item).collect()
    }
}

fn keep<T>(kept: &mut VecDeque<T>, most: usize, new: T) {
    if kept.len() == most {
        kept.pop_front();
    }
    kept.push_back(new);
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::schema::sample;

    fn at(realtime: i64) -> Arc<Observed> {
        Arc::new(Observed { realtime, ..sample::timeout() })
    }

    #[test]
    fn the_oldest_go_and_the_order_stays() {
        let mut recent = Recent::default();
        recent.event(&at(0));
        recent.diagnosis(&Arc::new(sample::diagnosed()));
        for realtime in 1..=EVENTS as i64 {
            recent.event(&at(realtime));
        }
        let all = recent.since(Timestamp::UNIX_EPOCH);
        assert_eq!(all.len(), EVENTS + 1);
        assert!(matches!(all[0], FeedItem::Diagnosis(_)), "the diagnosis stays, the first event is gone");
        let times: Vec<_> = all.iter().skip(1).map(realtime).collect();
        assert!(times.is_sorted(), "{times:?}");
        assert_eq!(recent.since(Timestamp::MAX).len(), 0);
    }

    /// The clock was an hour ahead, or behind, when they happened.
    #[test]
    fn a_clock_that_was_set_hides_nothing() {
        const HOUR: i64 = 3_600_000_000_000;
        let now = Timestamp::now();
        let here = now.as_nanosecond() as i64;
        let mut recent = Recent::default();
        for realtime in [here - HOUR, here + HOUR] {
            let mut observed = sample::timeout();
            observed.realtime = realtime;
            observed.event.time = facts::monotonic().unwrap();
            recent.event(&Arc::new(observed));
        }
        assert_eq!(recent.since(now - SignedDuration::from_mins(1)).len(), 2);
        assert_eq!(recent.since(now + SignedDuration::from_mins(1)).len(), 0);
    }

    fn realtime(item: &FeedItem) -> i64 {
        match item {
            FeedItem::Event(event) => event.realtime,
            FeedItem::Diagnosis(diagnosed) => diagnosed.realtime,
            FeedItem::Gap(_) | FeedItem::Missed(_) => panic!("nobody was too slow"),
        }
    }
}
