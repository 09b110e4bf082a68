//! The exact counters as facts of the stream, so that a replay knows them too.

use std::collections::HashMap;

use agent_common::count::{Count, CountKey, Health};
use agent_common::signal;

use super::probes::PROBES;
use crate::event::{CountRow, Fact, HealthRow};

/// Rows of one fact: some 30 KB, a fraction of a recording's block.
const ROWS: usize = 256;

/// What the stream was told of the counters. As large as the kernel side's map of them.
#[derive(Debug, Default)]
pub struct Told {
    counts: HashMap<CountKey, Count>,
    health: [Health; signal::END as usize],
}

impl Told {
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
    // The table of probes is in the order of the signals, of which the first is number 1.
    let probe = PROBES.get(usize::from(signal).checked_sub(1)?)?;
    (count > 0).then(|| Fact::Lost { signal: probe.name.into(), count })
}

fn count_row(key: &CountKey, count: &Count) -> CountRow {
    let CountKey { cgroup, netns, signal, detail } = *key;
    let Count { events, segments, bytes } = *count;
    CountRow { cgroup, netns, signal, detail, events, segments, bytes }
}

fn health_row(signal: u16, health: &Health) -> HealthRow {
    let Health { written, lost_ring, lost_read, lost_socket, lost_count } = *health;
    HealthRow { signal, written, lost_ring, lost_read, lost_socket, lost_count }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(netns: u32, events: u64) -> (CountKey, Count) {
        let key = CountKey { netns, signal: signal::RESET_SENT, ..CountKey::default() };
        (key, Count { events, ..Count::default() })
    }

    #[test]
    fn only_what_changed_is_told() {
        let mut told = Told::default();
        let facts = told.counts(1, &[count(1, 0), count(2, 5)]);
        let [Fact::Counts { time: 1, rows, health: _ }] = &facts[..] else { panic!("{facts:?}") };
        assert_eq!((rows.len(), rows[0].netns, rows[0].events), (1, 2, 5));
        assert!(told.counts(2, &[count(1, 0), count(2, 5)]).is_empty());
        assert_eq!(told.counts(3, &[count(1, 1), count(2, 5)]).len(), 1);
    }

    #[test]
    fn many_rows_come_in_bounded_facts() {
        let rows: Vec<_> = (0..1000).map(|netns| count(netns, 1)).collect();
        let facts = Told::default().counts(1, &rows);
        assert_eq!(facts.len(), 4);
        assert!(facts.iter().all(|fact| serde_json::to_vec(fact).unwrap().len() < 64 << 10));
    }

    #[test]
    fn losses_are_told_by_their_signal() {
        let (mut told, mut health) = (Told::default(), [Health::default(); signal::END as usize]);
        health[usize::from(signal::RESET_SENT)].lost_ring = 7;
        let facts = told.health(1, &health);
        assert_eq!(facts[0], Fact::Lost { signal: "reset_sent".into(), count: 7 });
        assert!(matches!(&facts[1], Fact::Counts { health, .. } if health[0].lost_ring == 7));
        assert!(told.health(2, &health).is_empty());
    }
}
