//! Where a command meets the live kernel: all that it needs of source and pipeline.

use std::sync::Arc;

use clap::Args;
use tokio::sync::oneshot;

use super::size::Size;
use crate::correlate::limits::Limits;
use crate::event::HostFacts;
use crate::export::feed::Feed;
use crate::export::metrics::{Counters, Tallies};
use crate::export::why::Stories;
use crate::live::{self, Shared};
use crate::source::kernel;
use crate::source::kernel::probes::{ProbeState, ProbeStatus};

/// Bounds of what is remembered.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Bounds, where it attaches")]
pub(super) struct AttachArgs {
    /// Bytes of the ring from the kernel to the agent: a power of two, like 4M.
    #[arg(long, value_name = "SIZE", env = "TCPWHY_RING_SIZE", default_value = "4M")]
    pub(super) ring_size: Size,
    /// Sockets whose owner and totals the kernel side remembers.
    #[arg(long, value_name = "COUNT", env = "TCPWHY_MAX_SOCKETS", default_value_t = 65_536,
        value_parser = clap::value_parser!(u32).range(64..=16_777_216))]
    pub(super) max_sockets: u32,
    /// Living connections with trouble that the agent remembers.
    #[arg(long, value_name = "COUNT", env = "TCPWHY_MAX_CONNECTIONS", default_value_t = 50_000,
        value_parser = clap::value_parser!(u32).range(64..=16_777_216))]
    pub(super) max_connections: u32,
    /// Dead connections that the agent remembers.
    #[arg(long, value_name = "COUNT", env = "TCPWHY_HISTORY", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(0..=16_777_216))]
    pub(super) history: u32,
    /// How long the agent remembers a dead connection, like 90s, 30m or 1h.
    #[arg(long, value_name = "TIME", env = "TCPWHY_HISTORY_AGE", default_value = "1h", value_parser = age)]
    pub(super) history_age: std::time::Duration,
}

pub(super) fn age(text: &str) -> Result<std::time::Duration, String> {
    let age: jiff::SignedDuration = text.parse().map_err(|error| format!("{error}"))?;
    std::time::Duration::try_from(age).map_err(|_| "must not be negative".to_owned())
}

/// A kernel that is being watched.
pub(super) struct Attached {
    /// The kernel's exact counters.
    pub(super) counters: Arc<dyn Counters>,
    /// The pipeline's.
    pub(super) tallies: Arc<dyn Tallies>,
    /// What the pipeline remembers.
    pub(super) stories: Arc<dyn Stories>,
    /// Where the pipeline publishes.
    pub(super) feed: Feed,
    /// What the source learnt of the host before the first event.
    pub(super) host: Arc<HostFacts>,
    /// How the source ended; it does so by itself only when it fails.
    pub(super) ended: oneshot::Receiver<anyhow::Result<()>>,
}

/// Loads the programs, attaches them and starts the pipeline.
pub(super) fn attach(args: &AttachArgs) -> anyhow::Result<Attached> {
    let (ring, counters) = kernel::load(&args.options())?;
    tell_probes(&counters);
    let feed = Feed::default();
    let host = Arc::new(ring.host().clone());
    let shared = Shared::new(args.limits(), feed.clone());
    let (tell, ended) = oneshot::channel();
    let pipeline = shared.clone();
    tokio::spawn(async move {
        // Nobody listens once the command ended.
        let _ = tell.send(live::run(ring, pipeline).await);
    });
    Ok(Attached {
        counters: Arc::new(counters),
        tallies: Arc::new(shared.clone()),
        stories: Arc::new(shared),
        feed,
        host,
        ended,
    })
}

impl AttachArgs {
    pub(super) fn options(&self) -> kernel::Options {
        kernel::Options { ring_size: self.ring_size.0, max_sockets: self.max_sockets }
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            connections: self.max_connections as usize,
            history: self.history as usize,
            history_age: self.history_age,
        }
    }
}

/// One line, and one more for each probe that is not up: what is lost without it.
pub(super) fn tell_probes(counters: &kernel::Counters) {
    let up = counters.probes.iter().filter(|status| status.state == ProbeState::Up).count();
    log::info!("{up} of {} probes up", counters.probes.len());
    for ProbeStatus { probe, state } in &counters.probes {
        let why = match state {
            ProbeState::Up => continue,
            ProbeState::Missing => format!("needs Linux {}", probe.since),
            ProbeState::Refused(why) => why.clone(),
        };
        log::warn!("probe {} is not up, lost without it: {}: {why}", probe.name, probe.without);
    }
}
