//! The live kernel's counters, as the page reads them.

use std::time::Duration;

use agent_common::count::{Count, CountKey};

use super::{Counters, HealthTable, Probe, ProgramStats, Reading};
use crate::source::kernel;
use crate::source::kernel::probes::{ProbeState, ProbeStatus};

impl Counters for kernel::Counters {
    fn counts(&self) -> Reading<Vec<(CountKey, Count)>> {
        Ok(self.counts())
    }

    fn health(&self) -> Reading<HealthTable> {
        Ok(self.health())
    }

    fn programs(&self) -> Reading<Vec<ProgramStats>> {
        let cost = self.programs().into_iter().map(|stats| ProgramStats {
            name: stats.name.into(),
            run_time: Duration::from_nanos(stats.run_time_ns),
            runs: stats.run_count,
        });
        Ok(cost.collect())
    }

    fn probes(&self) -> Vec<Probe> {
        self.probes.iter().map(Probe::from).collect()
    }
}

impl From<&ProbeStatus> for Probe {
    fn from(status: &ProbeStatus) -> Self {
        let ProbeStatus { probe, state } = status;
        let error = match state {
            ProbeState::Up => None,
            ProbeState::Missing => Some(format!("not in this kernel; {} and later have it", probe.since)),
            ProbeState::Refused(why) => Some(why.clone()),
        };
        Self {
            name: probe.name.into(),
            required: probe.required,
            up: error.is_none(),
            error,
            lost_without: probe.without.into(),
        }
    }
}
