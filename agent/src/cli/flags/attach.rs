//! Where a command meets the live kernel: all that it needs of source and pipeline.

use std::sync::Arc;

use agent_model::counters::Counters;
use agent_model::event::HostFacts;
use agent_model::limits::{Limits, MOST};
use agent_source::blocking;
use agent_source::kernel;
use agent_source::kernel::probes::{Probe, ProbeState};
use agent_source::kernel::ring::Ring;
use agent_source::names::{Names, NamesUp, Wanted};
use anyhow::Context as _;
use clap::Args;

use super::names::NamesArgs;
use super::size::Size;
use crate::answers::why::Answers;
use crate::live::{Live, PipelineThread, Shared, Tap};
use crate::metrics::Tallies;
use crate::serve::feed::{Feed, Reader};

/// Bounds of what is remembered.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Bounds, where it attaches")]
pub(in crate::cli) struct AttachArgs {
    /// Bytes of the ring from the kernel to the agent: a power of two, like 4M.
    #[arg(long, value_name = "SIZE", env = "TCPWHY_RING_SIZE", default_value = "4M")]
    pub(in crate::cli) ring_size: Size,
    /// Sockets whose owner and totals the kernel side remembers.
    #[arg(long, value_name = "COUNT", env = "TCPWHY_MAX_SOCKETS", default_value_t = 65_536,
        value_parser = clap::value_parser!(u32).range(64..=16_777_216))]
    pub(in crate::cli) max_sockets: u32,
    /// Counters that the kernel side keeps, 48 bytes on each CPU: one for each container, kind of event and reason
    /// that comes up; a container with trouble has some ten. Without room it is counted under `other`.
    #[arg(long, value_name = "COUNT", env = "TCPWHY_MAX_COUNTERS", default_value_t = kernel::MAX_COUNTERS,
        value_parser = clap::value_parser!(u32).range(1024..=1_048_576))]
    pub(in crate::cli) max_counters: u32,
    /// Records a second, on each CPU, of one port of a workload and one kind of event; further events are told
    /// together. 0 is no limit. All ports of a workload get twice as much together.
    #[arg(long, value_name = "COUNT", env = "TCPWHY_STORM_RATE", default_value_t = kernel::STORM_RATE)]
    pub(in crate::cli) storm_rate: u32,
    /// Such records that may come at once, of one port or of all ports of a workload.
    #[arg(long, value_name = "COUNT", env = "TCPWHY_STORM_BURST", default_value_t = kernel::STORM_BURST,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) storm_burst: u32,
    /// Living connections with trouble that the agent remembers.
    #[arg(long, value_name = "COUNT", env = "TCPWHY_MAX_CONNECTIONS", default_value_t = 50_000,
        value_parser = clap::value_parser!(u32).range(64..=i64::from(MOST)))]
    pub(in crate::cli) max_connections: u32,
    /// Dead connections that the agent remembers.
    #[arg(long, value_name = "COUNT", env = "TCPWHY_HISTORY", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(0..=i64::from(MOST)))]
    pub(in crate::cli) history: u32,
    /// How long the agent remembers a dead connection, like 90s, 30m or 1h.
    #[arg(long, value_name = "TIME", env = "TCPWHY_HISTORY_AGE", default_value = "1h", value_parser = age)]
    pub(in crate::cli) history_age: std::time::Duration,
    #[command(flatten)]
    pub(in crate::cli) names: NamesArgs,
}

pub(in crate::cli) fn age(text: &str) -> Result<std::time::Duration, String> {
    let age: jiff::SignedDuration = text.parse().map_err(|error| format!("{error}"))?;
    std::time::Duration::try_from(age).map_err(|_| "must not be negative".to_owned())
}

/// Programs that run and write to the ring, which nobody reads yet.
pub(in crate::cli) struct Loaded {
    ring: Ring,
    counters: Arc<kernel::Counters>,
    limits: Limits,
    feed: Feed,
    names: Wanted,
}

impl Loaded {
    /// The kernel's exact counters.
    pub(in crate::cli) fn counters(&self) -> Arc<dyn Counters> {
        Arc::clone(&self.counters) as _
    }

    /// A reader of everything from the first event on.
    pub(in crate::cli) fn subscribe(&self) -> Reader {
        self.feed.subscribe()
    }

    /// Starts the pipeline's thread, and the tap beside it.
    pub(in crate::cli) async fn start(self, tap: Option<Tap>) -> anyhow::Result<Attached> {
        let Self { ring, counters, limits, feed, names } = self;
        let names = blocking::run(move || Names::start(names)).await;
        let up = names.up.clone();
        let host = Arc::new(ring.host().clone());
        let shared = Shared::new(limits, feed.clone());
        let live = Live::new(ring, names, Arc::clone(&counters), shared.clone(), tap);
        let source = PipelineThread::start(live).context("start the pipeline's thread")?;
        Ok(Attached {
            counters,
            tallies: Arc::new(shared.clone()),
            answers: Arc::new(shared),
            names: up,
            feed,
            host,
            source,
        })
    }
}

/// A kernel that is being watched.
pub(in crate::cli) struct Attached {
    /// The kernel's exact counters.
    pub(in crate::cli) counters: Arc<dyn Counters>,
    /// The pipeline's.
    pub(in crate::cli) tallies: Arc<dyn Tallies>,
    /// What the pipeline remembers.
    pub(in crate::cli) answers: Arc<dyn Answers>,
    /// Where names come from.
    pub(in crate::cli) names: Vec<Arc<NamesUp>>,
    /// Where the pipeline publishes.
    pub(in crate::cli) feed: Feed,
    /// What the source learnt of the host before the first event.
    pub(in crate::cli) host: Arc<HostFacts>,
    /// What feeds the pipeline.
    pub(in crate::cli) source: PipelineThread,
}

impl AttachArgs {
    /// Loads the programs and attaches them.
    pub(in crate::cli) fn load(&self) -> anyhow::Result<Loaded> {
        let (ring, counters) = kernel::load(&self.options())?;
        log_probes(&counters);
        let (limits, names) = (self.limits(), self.names.wanted());
        Ok(Loaded { ring, counters: Arc::new(counters), limits, feed: Feed::default(), names })
    }

    fn options(&self) -> kernel::Options {
        let limits = kernel::StormLimits::new(self.storm_rate, self.storm_burst);
        let (max_sockets, max_counters) = (self.max_sockets, self.max_counters);
        kernel::Options { ring_size: self.ring_size.0, max_sockets, max_counters, limits }
    }

    fn limits(&self) -> Limits {
        Limits {
            connections: self.max_connections as usize,
            history: self.history as usize,
            history_age: self.history_age,
        }
    }
}

/// One line, and one more for each probe that is not up: what is lost without it.
fn log_probes(counters: &kernel::Counters) {
    let up = counters.probes.iter().filter(|status| status.state == ProbeState::Up).count();
    log::info!("{up} of {} probes up", counters.probes.len());
    for status in &counters.probes {
        if let Some(why) = status.error() {
            let Probe { name, without, .. } = status.probe;
            log::warn!("probe {name} is not up, lost without it: {without}: {why}");
        }
    }
}
