//! How a family grew, from what the walks saw of it.

use std::collections::VecDeque;

use super::ProcessFamily;

/// Samples that are kept: at a scrape every 15 s those of four minutes.
const SAMPLES: usize = 16;

/// Samples less than this apart, ns, show no growth; the newer one replaces the other.
const APART: u64 = 900_000_000;

/// A family at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// When, ns of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// Its connections.
    pub connections: u32,
    /// Memory of all its sockets, bytes.
    pub memory: u64,
}

impl Sample {
    /// The family at `time`.
    pub(super) fn of(family: &ProcessFamily, time: u64) -> Self {
        Self { time, connections: family.connections(), memory: family.memory }
    }

    fn memory_each(self) -> u64 {
        self.memory.checked_div(self.connections.into()).unwrap_or(0)
    }
}

/// The last samples of a family, and its peaks.
#[derive(Clone, Debug, Default)]
pub struct Growth {
    samples: VecDeque<Sample>,
    /// Most connections in a sample.
    pub peak_connections: u32,
    /// Most memory in a sample, bytes.
    pub peak_memory: u64,
    memory_each: u64,
}

impl Growth {
    pub(super) fn note(&mut self, sample: Sample) {
        self.peak_connections = self.peak_connections.max(sample.connections);
        self.peak_memory = self.peak_memory.max(sample.memory);
        self.memory_each = self.memory_each.max(sample.memory_each());
        let is_soon = |last: &Sample| sample.time.saturating_sub(last.time) < APART;
        if self.samples.len() > 1 && self.samples.back().is_some_and(is_soon) {
            self.samples.pop_back();
        }
        self.samples.push_back(sample);
        if self.samples.len() > SAMPLES {
            self.samples.pop_front();
        }
    }

    /// From samples of (second, connections, memory), for tests.
    #[cfg(any(test, feature = "fixture"))]
    pub fn of(looks: &[(u64, u32, u64)]) -> Self {
        let mut growth = Self::default();
        for &(second, connections, memory) in looks {
            growth.note(Sample { time: second * 1_000_000_000, connections, memory });
        }
        growth
    }

    /// See [`ProcessFamily::memory_each`].
    pub(super) fn memory_each(&self) -> u64 {
        self.memory_each
    }

    /// Connections that it gains a second; negative where it loses some, `None` until it was seen twice.
    pub fn rate(&self) -> Option<f64> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let time = last.time.saturating_sub(first.time);
        let grown = f64::from(last.connections) - f64::from(first.connections);
        (time >= APART).then(|| grown * 1e9 / time as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn growth_is_from_the_oldest_look_to_the_newest() {
        let mut growth = Growth::default();
        assert_eq!(growth.rate(), None);
        for (second, connections) in [(0, 100), (10, 150), (20, 120)] {
            let memory = u64::from(connections) * 1000;
            growth.note(Sample { time: second * SECOND, connections, memory });
        }
        assert_eq!(growth.rate(), Some(1.0));
        assert_eq!((growth.peak_connections, growth.peak_memory, growth.memory_each()), (150, 150_000, 1000));
        let before = growth.samples.len();
        growth.note(Sample { time: 20 * SECOND, connections: 140, memory: 0 });
        assert_eq!((growth.samples.len(), growth.rate()), (before, Some(2.0)));
        for second in 21..100 {
            growth.note(Sample { time: second * SECOND, connections: 140, memory: 0 });
        }
        assert_eq!((growth.samples.len(), growth.rate()), (SAMPLES, Some(0.0)));
    }
}
