//! What the kernel side has counted, as whoever scrapes, records or replays reads it.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use agent_common::count::{Count, CountKey, Health};
use agent_common::signal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::event::{Snmp, TcpMemory};

/// One row of health for each signal.
pub type HealthTable = [Health; signal::END as usize];

/// A kernel map could not be read: a scrape without it would look like a restart.
pub type Reading<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What the kernel side has counted; the live source implements it.
pub trait Counters: Send + Sync {
    /// The map `COUNTS`, summed over all CPUs.
    fn counts(&self) -> Reading<Vec<(CountKey, Count)>>;
    /// The map `HEALTH`, summed over all CPUs.
    fn health(&self) -> Reading<HealthTable>;
    /// What the programs cost; no runs where the kernel does not measure (`kernel.bpf_stats_enabled`).
    fn programs(&self) -> Reading<Vec<ProgramStats>>;
    /// The table of probes.
    fn probes(&self) -> Vec<ProbeHealth>;
    /// TCP's memory; `None` where it can't be read.
    fn tcp_memory(&self) -> Option<TcpMemory>;
    /// The kernel's own counters of the agent's network namespace; `None` where they can't be read.
    fn snmp(&self) -> Option<Snmp> {
        None
    }
    /// Removes counters of what is gone; those that cannot be removed stay, and are not shown.
    fn forget(&self, _: &[CountKey]) {}
}

/// Run cost of one eBPF program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramStats {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Time spent in it since it was loaded.
    pub run_time: Duration,
    /// Times it ran.
    pub runs: u64,
    /// Times it was skipped because it was running on that processor already: events not seen.
    pub misses: u64,
    /// Instructions the verifier walked at load.
    pub instructions: u64,
}

/// One hook, and whether it is attached.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeHealth {
    /// The program's name, which is the signal's word.
    pub name: Cow<'static, str>,
    /// Without it the agent does not start.
    pub required: bool,
    /// Attached.
    pub up: bool,
    /// Why it is not.
    pub error: Option<String>,
    /// What is not known without it.
    pub lost_without: Cow<'static, str>,
}
