//! Which connection was counted last: the exemplar of a counter.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use agent_common::count::CountKey;
use agent_correlate::connection::Connection;
use agent_correlate::observed::{ConnectionId, Observed};
use agent_correlate::shared::Initials;
use agent_diagnose::fates::counted_as;
use agent_model::cause::Cause;
use prometheus_client::encoding::{EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::exemplar::CounterWithExemplar;

use super::DIAGNOSIS;

/// Counters that have one; further ones have none. As many as the kernel side's map has.
const EXAMPLES: usize = 4096;

/// A connection that was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    /// When, ns since 1970 UTC.
    pub realtime: i64,
    id: ConnectionId,
    initials: Option<Initials>,
}

/// The last one of each counter of resets and deaths.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Examples(HashMap<CountKey, Example>);

impl Example {
    /// Of a connection at `realtime`.
    pub fn new(connection: &Connection, realtime: i64) -> Self {
        Self { realtime, id: connection.id, initials: connection.initials }
    }

    /// Names of at most 51 characters; `OpenMetrics` allows 128.
    fn labels(&self) -> Vec<(&'static str, String)> {
        let shared = self.initials.map(|initials| ("shared_id", initials.id().to_string()));
        [("connection", self.id.to_string())].into_iter().chain(shared).collect()
    }

    /// Writes a counter of value `count`, with this as its exemplar.
    pub(super) fn encode(&self, to: MetricEncoder<'_>, count: u64) -> std::fmt::Result {
        let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(self.realtime.max(0).unsigned_abs());
        // The encoder's own type is the only way to an exemplar.
        let counter = CounterWithExemplar::<_, u64>::default();
        counter.inc_by(count.saturating_sub(1), None, None);
        counter.inc_by(1, Some(self.labels()), Some(time));
        counter.encode(to)
    }
}

impl Examples {
    /// Takes in an event of a connection.
    pub fn observed(&mut self, observed: &Observed, connection: &Connection) {
        if let Some(key) = counted_as(&observed.event) {
            self.put(key, Example::new(connection, observed.realtime));
        }
    }

    /// Takes in a death.
    pub fn died(&mut self, connection: &Connection, cause: Cause, realtime: i64) {
        let identity = &connection.identity;
        let (cgroup, netns) = (identity.cgroup.map_or(0, Into::into), identity.netns);
        let key = CountKey { cgroup, netns, signal: DIAGNOSIS, detail: cause as u16 };
        self.put(key, Example::new(connection, realtime));
    }

    fn put(&mut self, key: CountKey, example: Example) {
        if self.0.len() < EXAMPLES || self.0.contains_key(&key) {
            self.0.insert(key, example);
        }
    }

    /// The last connection that this counter counted.
    pub(super) fn of(&self, key: &CountKey) -> Option<Example> {
        self.0.get(key).copied()
    }

    /// Forgets those of places for which `lives` returns false.
    pub fn retain(&mut self, lives: impl Fn(u64, u32) -> bool) {
        self.0.retain(|key, _| lives(key.cgroup, key.netns));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::num::NonZero;

    use agent_common::signal;

    use super::*;

    /// Of a reset that was received, and of a death.
    pub(crate) fn some() -> Examples {
        let example =
            |id| Example { realtime: 1_795_308_063_123_456_789, id: ConnectionId(id), initials: None };
        let key = |signal, cgroup, detail| CountKey { cgroup, netns: 4_026_531_840, signal, detail };
        let death = key(DIAGNOSIS, 4177, Cause::ClosedWithUnreadData as u16);
        Examples([(key(signal::RESET_RECEIVED, 1, 2), example(0x2a)), (death, example(0x2b))].into())
    }

    #[test]
    fn the_names_are_as_short_as_open_metrics_wants_them() {
        let initials = Some(Initials::from(NonZero::<u64>::MAX));
        let labels = Example { realtime: 0, id: ConnectionId(u64::MAX), initials }.labels();
        let characters: usize = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert_eq!((labels.len(), characters), (2, 51));
    }

    #[test]
    fn counters_without_end_have_no_example() {
        let mut examples = some();
        let one = examples.0.values().next().copied().unwrap();
        for cgroup in 0..=EXAMPLES as u64 {
            examples.put(CountKey { cgroup, ..CountKey::default() }, one);
        }
        assert_eq!(examples.0.len(), EXAMPLES);
        examples.retain(|cgroup, _| cgroup == 7);
        assert_eq!(examples.0.len(), 1);
    }
}
