//! The kernel's exact counters, as a recording has them.

use std::collections::HashMap;

use agent_common::count::{Count, CountKey, Health};
use agent_model::counters::{Counters, HealthTable, ProbeHealth, ProgramStats, Reading};
use agent_model::event::{CountRow, Fact, HealthRow, TcpMemory};
use agent_model::frame::Frame;

/// Rows remembered: as many as the kernel side's map has, some times over, since namespaces come and go.
const ROWS: usize = 1 << 17;

/// What the counters were when they were recorded last. What the programs cost and which probes were up is no
/// part of a recording.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    counts: HashMap<CountKey, Count>,
    health: HealthTable,
    tcp_memory: Option<TcpMemory>,
}

impl Counted {
    /// Takes note, if the frame has counters.
    pub fn take(&mut self, frame: &Frame) {
        let Frame::Fact(fact) = frame else { return };
        if let Fact::Counts { time: _, rows, health } = &**fact {
            for row in rows {
                self.count(row);
            }
            for row in health {
                self.health(row);
            }
        } else if let Fact::TcpMemory(memory) = &**fact {
            self.tcp_memory = Some(memory.clone());
        }
    }

    fn count(&mut self, row: &CountRow) {
        let CountRow { cgroup, netns, signal, detail, events, segments, bytes } = *row;
        let key = CountKey { cgroup, netns, signal, detail };
        if self.counts.len() < ROWS || self.counts.contains_key(&key) {
            self.counts.insert(key, Count { events, segments, bytes });
        }
    }

    fn health(&mut self, row: &HealthRow) {
        let HealthRow { signal, written, lost_ring, lost_read, lost_socket, lost_count, coalesced } = *row;
        if let Some(health) = self.health.get_mut(usize::from(signal)) {
            *health = Health { written, lost_ring, lost_read, lost_socket, lost_count, coalesced };
        }
    }
}

impl Counters for Counted {
    fn counts(&self) -> Reading<Vec<(CountKey, Count)>> {
        Ok(self.counts.iter().map(|(key, count)| (*key, *count)).collect())
    }

    fn health(&self) -> Reading<HealthTable> {
        Ok(self.health)
    }

    fn programs(&self) -> Reading<Vec<ProgramStats>> {
        Ok(Vec::new())
    }

    fn probes(&self) -> Vec<ProbeHealth> {
        Vec::new()
    }

    fn tcp_memory(&self) -> Option<TcpMemory> {
        self.tcp_memory.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_recorded_counts() {
        let mut counted = Counted::default();
        let row =
            |events| CountRow { cgroup: 1, netns: 2, signal: 3, detail: 4, events, segments: 0, bytes: 0 };
        let lost = HealthRow {
            signal: 3,
            written: 1,
            lost_ring: 2,
            lost_read: 0,
            lost_socket: 0,
            lost_count: 0,
            coalesced: 0,
        };
        let nobodys = HealthRow { signal: 999, ..lost.clone() };
        for (events, health) in [(5, vec![]), (7, vec![lost, nobodys])] {
            counted.take(&Frame::fact(Fact::Counts { time: 0, rows: vec![row(events)], health }));
        }
        counted.take(&Frame::Malformed("{".into()));
        let counts = counted.counts().unwrap();
        assert_eq!((counts.len(), counts[0].1.events), (1, 7));
        assert_eq!(Counters::health(&counted).unwrap()[3].lost_ring, 2);
    }
}
