//! The exact counters as facts of the stream, so that a replay knows them too.

use std::collections::HashMap;

use agent_common::count::{Count, CountKey, Health, IDLE};
use agent_common::signal;
use agent_model::counters;
use agent_model::event::{CountRow, Fact, HealthRow};

use super::probes::Probe;
use super::stats::{BucketOf, Counters, Kept};

/// Rows of one fact: some 30 KB, a fraction of a recording's block.
const ROWS: usize = 256;

/// What of the counters is in the stream already. As large as the kernel side's map of them.
#[derive(Debug, Default)]
pub struct Deltas {
    counts: HashMap<CountKey, Count>,
    health: [Health; signal::END as usize],
    kept: HashMap<(BucketOf, usize), Left>,
    is_waiting: bool,
}

/// What of a bucket is in the stream already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    key: CountKey,
    port: u16,
    sent: u64,
}

/// A bucket's events that no record stands for any more: [`IDLE`], and time for an event that is being counted.
const SETTLED: u64 = IDLE + 100_000_000;

impl Deltas {
    /// What was lost and what was coalesced since, and health if it has changed. If it fails, the next time says all.
    pub fn since_asked(&mut self, time: u64, counters: &Counters) -> anyhow::Result<Vec<Fact>> {
        let health = counters::Counters::health(counters).map_err(anyhow::Error::from_boxed)?;
        let coalesced = |table: &[Health]| table.iter().map(|row| row.coalesced).sum::<u64>();
        let lost = |table: &[Health]| table.iter().map(|row| row.lost_ring).sum::<u64>();
        let is_storm = coalesced(&health) != coalesced(&self.health) || lost(&health) != lost(&self.health);
        // Read before anything is taken for reported.
        let buckets = (is_storm || self.is_waiting).then(|| counters.buckets()).transpose()?;
        let mut facts = self.health(time, &health);
        facts.extend(buckets.into_iter().flat_map(|buckets| self.coalesced(time, &buckets)));
        Ok(facts)
    }

    /// Whether there is more to report in a while, whatever comes.
    pub fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// What is left of storms that have ended: `time` is from before the buckets were read.
    pub fn coalesced(&mut self, time: u64, kept: &[Kept]) -> Vec<Fact> {
        self.is_waiting = false;
        let mut sources: HashMap<(CountKey, u16), u64> = HashMap::new();
        for Kept { place, key, port, bucket } in kept {
            let is_settled = time > bucket.until.saturating_add(SETTLED);
            self.is_waiting |= !is_settled && bucket.waiting > 0;
            let total = bucket.left + if is_settled { bucket.waiting } else { 0 };
            let none = Left { key: *key, port: *port, sent: 0 };
            let left = self.kept.entry(*place).or_insert(none);
            if (left.key, left.port) != (*key, *port) {
                *left = none;
            }
            *sources.entry((*key, *port)).or_default() += total.saturating_sub(left.sent);
            left.sent = left.sent.max(total);
        }
        let new = sources.into_iter().filter(|(_, count)| *count > 0);
        new.filter_map(|((key, port), count)| coalesced(&key, port, count)).collect()
    }

    /// The counters that have changed since.
    pub fn counts(&mut self, time: u64, counts: &[(CountKey, Count)]) -> Vec<Fact> {
        let is_new =
            |&&(key, count): &&(CountKey, Count)| self.counts.insert(key, count).unwrap_or_default() != count;
        let rows: Vec<_> = counts.iter().filter(is_new).map(|(key, count)| count_row(key, count)).collect();
        rows.chunks(ROWS).map(|rows| Fact::Counts { time, rows: rows.to_vec(), health: Vec::new() }).collect()
    }

    /// The health that has changed since, and what was lost of it in the ring.
    pub fn health(&mut self, time: u64, health: &[Health; signal::END as usize]) -> Vec<Fact> {
        let before = std::mem::replace(&mut self.health, *health);
        let rows = (0..).zip(before.iter().zip(health));
        let changed: Vec<_> = rows.filter(|(_, (before, now))| before != now).collect();
        if changed.is_empty() {
            return Vec::new();
        }
        let lost = changed.iter().filter_map(|(signal, (before, now))| lost(*signal, before, now));
        let health = changed.iter().map(|(signal, (_, now))| health_row(*signal, now)).collect();
        lost.chain([Fact::Counts { time, rows: Vec::new(), health }]).collect()
    }

    /// Events so far that gave no record.
    pub fn lost(&self) -> u64 {
        self.health.iter().map(|row| row.lost_ring + row.lost_read).sum()
    }
}

fn lost(signal: u16, before: &Health, now: &Health) -> Option<Fact> {
    let count = now.lost_ring.saturating_sub(before.lost_ring);
    let signal = word(signal)?;
    (count > 0).then_some(Fact::Lost { signal, count })
}

fn coalesced(key: &CountKey, port: u16, count: u64) -> Option<Fact> {
    let CountKey { cgroup, netns, signal, detail } = *key;
    Some(Fact::Coalesced { signal: word(signal)?, detail, cgroup, netns, port, count })
}

fn word(signal: u16) -> Option<Box<str>> {
    Probe::of(signal).map(|probe| probe.name.into())
}

fn count_row(key: &CountKey, count: &Count) -> CountRow {
    let CountKey { cgroup, netns, signal, detail } = *key;
    let Count { events, segments, bytes } = *count;
    CountRow { cgroup, netns, signal, detail, events, segments, bytes }
}

fn health_row(signal: u16, health: &Health) -> HealthRow {
    let Health { written, lost_ring, lost_read, lost_socket, lost_count, coalesced } = *health;
    HealthRow { signal, written, lost_ring, lost_read, lost_socket, lost_count, coalesced }
}

#[cfg(test)]
mod tests {
    use agent_common::count::Bucket;

    use super::*;

    fn count(netns: u32, events: u64) -> (CountKey, Count) {
        let key = CountKey { netns, signal: signal::RESET_SENT, ..CountKey::default() };
        (key, Count { events, ..Count::default() })
    }

    #[test]
    fn only_what_changed_is_reported() {
        let mut deltas = Deltas::default();
        let facts = deltas.counts(1, &[count(1, 0), count(2, 5)]);
        let [Fact::Counts { time: 1, rows, health: _ }] = &facts[..] else { panic!("{facts:?}") };
        assert_eq!((rows.len(), rows[0].netns, rows[0].events), (1, 2, 5));
        assert!(deltas.counts(2, &[count(1, 0), count(2, 5)]).is_empty());
        assert_eq!(deltas.counts(3, &[count(1, 1), count(2, 5)]).len(), 1);
    }

    #[test]
    fn many_rows_come_in_bounded_facts() {
        let rows: Vec<_> = (0..1000).map(|netns| count(netns, 1)).collect();
        let facts = Deltas::default().counts(1, &rows);
        assert_eq!(facts.len(), 4);
        assert!(facts.iter().all(|fact| serde_json::to_vec(fact).unwrap().len() < 64 << 10));
    }

    fn kept(until: u64, left: u64, waiting: u64, port: u16) -> Kept {
        let key = CountKey { signal: signal::RESET_SENT, ..CountKey::default() };
        Kept { place: (BucketOf::Port(7), 0), key, port, bucket: Bucket { until, left, waiting } }
    }

    fn counts(facts: &[Fact]) -> Vec<u64> {
        let count = |fact: &Fact| if let Fact::Coalesced { count, .. } = fact { *count } else { panic!() };
        facts.iter().map(count).collect()
    }

    /// The kernel side moves what waits to what is left at the first event after the pause: no difference.
    #[test]
    fn the_last_of_a_storm_are_reported_once() {
        let mut deltas = Deltas::default();
        assert!(
            deltas.coalesced(SETTLED, &[kept(5, 0, 9, 80)]).is_empty(),
            "the next record may stand for them"
        );
        assert!(deltas.is_waiting());
        assert_eq!(counts(&deltas.coalesced(SETTLED + 6, &[kept(5, 0, 9, 80)])), [9]);
        assert!(!deltas.is_waiting());
        assert!(deltas.coalesced(2 * SETTLED, &[kept(SETTLED + 7, 9, 0, 80)]).is_empty());
        assert_eq!(counts(&deltas.coalesced(4 * SETTLED, &[kept(2 * SETTLED, 9, 3, 80)])), [3]);
        assert_eq!(
            counts(&deltas.coalesced(9 * SETTLED, &[kept(5 * SETTLED, 0, 2, 443)])),
            [2],
            "another's slot"
        );
    }

    #[test]
    fn losses_are_counted_by_their_signal() {
        let (mut deltas, mut health) = (Deltas::default(), [Health::default(); signal::END as usize]);
        health[usize::from(signal::RESET_SENT)].lost_ring = 7;
        let facts = deltas.health(1, &health);
        assert_eq!(facts[0], Fact::Lost { signal: "reset_sent".into(), count: 7 });
        assert!(matches!(&facts[1], Fact::Counts { health, .. } if health[0].lost_ring == 7));
        assert!(deltas.health(2, &health).is_empty());
    }
}
