//! Who failed last with a connection: a proxy whose own connect() is refused closes its client's.

use std::collections::VecDeque;

use super::Correlator;
use super::connection::Connection;
use super::observed::ConnectionId;

/// Remembered at most; the oldest go first.
const MAX: usize = 64;

/// A failure within so many ns before what a process does next may be its reason.
const JUST_BEFORE: u64 = 1_000_000_000;

#[derive(Debug)]
struct Failure {
    time: u64,
    pid: u32,
    connection: ConnectionId,
}

/// The last ones.
#[derive(Debug, Default)]
pub(super) struct Failures(VecDeque<Failure>);

impl Failures {
    /// Takes in a connection that has just ended.
    pub fn ended(&mut self, connection: &Connection) {
        let failed = connection.died().filter(|_| connection.error != 0);
        let Some((time, owner)) = failed.zip(connection.owner.as_ref()) else { return };
        if self.0.len() == MAX {
            self.0.pop_front();
        }
        self.0.push_back(Failure { time, pid: owner.process.pid, connection: connection.id });
    }
}

impl Correlator {
    /// The connection of process `pid` that ended with an error last, within a second before `time`
    /// (ns of `CLOCK_MONOTONIC`), and is not `but`.
    pub fn failed_before(&self, pid: u32, time: u64, but: ConnectionId) -> Option<&Connection> {
        let mut recent = self.failures.0.iter().rev();
        let failure = recent.find(|failure| {
            failure.pid == pid
                && failure.connection != but
                && failure.time <= time
                && time - failure.time < JUST_BEFORE
        });
        self.table.get(failure?.connection)
    }
}
