//! What Prometheus scrapes. The kernel's exact counters are read at the scrape: no second copy of them is
//! kept, and what the ring loses they still have.

mod cgroup;
mod classic;
mod example;
mod family;
mod memory;
mod page;
mod process_family;
mod reconcile;
#[cfg(test)]
pub(crate) mod tests;
mod workload;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use agent_common::count::{Count, CountKey};
use agent_common::signal;
use agent_correlate::families::Walks;
use agent_diagnose::stats::Stats;
use agent_model::counters::{Counters, ProbeHealth, Reading};
use agent_model::event::{HostFacts, Owned, TcpMemory};
use agent_source::names::NamesUp;
use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

pub use self::cgroup::CgroupTally;
pub(crate) use self::cgroup::tally as cgroup_tally;
pub use self::example::Examples;
pub use self::family::{FAMILIES, MetricFamily, Most, OPEN_TELEMETRY, PLACE_LABELS};
use self::page::MetricsPage;
pub use self::process_family::FamilyTally;
pub(crate) use self::process_family::tally as process_family_tally;
use self::reconcile::{Compared, Reconcile};
use self::workload::Admission;
pub use self::workload::Workload;
use crate::otlp::Exported;
use crate::serve::feed::Feed;

/// In place of a signal: a diagnosis of death, whose detail is its cause.
const DIAGNOSIS: u16 = signal::END;

/// What the pipeline has counted.
pub trait Tallies: Send + Sync {
    /// A copy at this moment.
    fn tally(&self) -> Tally;

    /// What the pipeline itself lost, by place.
    fn lost(&self) -> [(&'static str, u64); 2];

    /// Whose the counters of these cgroups and network namespaces are, in their order; `None` of who is gone.
    fn workloads(&self, of: &[(u64, u32)]) -> Vec<Option<Workload>> {
        vec![Some(Workload::HOST); of.len()]
    }
}

/// Counts of the pipeline; every word that can be counted is there from the start, with 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Records that could not be decoded, by reason.
    pub decode_errors: BTreeMap<&'static str, u64>,
    /// Entries given up because a table was full, by table.
    pub evicted: BTreeMap<&'static str, u64>,
    /// Connections remembered, by state.
    pub connections: BTreeMap<&'static str, u64>,
    /// Stalls and deaths.
    pub stats: Stats,
    /// The connections that were counted last.
    pub examples: Examples,
    /// Process families by name.
    pub families: Vec<FamilyTally>,
    /// What the walks over open files cost.
    pub walks: Walks,
    /// Socket memory of workloads.
    pub cgroups: BTreeMap<Workload, CgroupTally>,
    /// What living pods belong to, by namespace and name.
    pub owners: BTreeMap<(Box<str>, Box<str>), Owned>,
}

/// Form of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
    /// The text format 0.0.4 that every scraper reads.
    Classic,
}

/// A page of metrics could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ScrapeError {
    /// The kernel's counters can't be read.
    #[error("read the kernel's counters")]
    Counters(#[source] Box<dyn Error + Send + Sync>),
    /// The encoder refused.
    #[error("write the metrics page")]
    Encode(#[from] fmt::Error),
}

/// Everything that a scrape reads.
pub struct Metrics {
    counters: Arc<dyn Counters>,
    tallies: Arc<dyn Tallies>,
    feed: Feed,
    host: Arc<HostFacts>,
    names: Vec<Arc<NamesUp>>,
    exported: Option<Arc<Exported>>,
    admission: Mutex<Admission>,
    reconcile: Mutex<Reconcile>,
}

impl Format {
    /// What `Content-Type` says.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// `OpenMetrics` only for who asks for it, and does not like plain text better (RFC 9110 §12.5.1).
    pub fn negotiate(accept: &str) -> Self {
        let open = quality(accept, &["application/openmetrics-text"]);
        let plain = quality(accept, &["text/plain", "text/*", "*/*"]);
        if open > 0.0 && open >= plain { Self::OpenMetrics } else { Self::Classic }
    }
}

/// The best quality given to any of `types`; 0 if none is named.
fn quality(accept: &str, types: &[&str]) -> f32 {
    let ranges = accept.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next()?;
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
        types.iter().any(|known| name.eq_ignore_ascii_case(known)).then_some(weight?)
    });
    ranges.fold(0.0, f32::max)
}

impl Metrics {
    /// Metrics of a host.
    pub fn new(
        counters: Arc<dyn Counters>,
        tallies: Arc<dyn Tallies>,
        feed: Feed,
        host: Arc<HostFacts>,
    ) -> Self {
        let reconcile = Reconcile::new(&*counters, !host.reset_reasons.is_empty()).into();
        let (names, exported, admission) = (Vec::new(), None, Mutex::default());
        Self { counters, tallies, feed, host, names, exported, admission, reconcile }
    }

    /// The same with where names come from.
    #[must_use]
    pub fn with_names(self, names: Vec<Arc<NamesUp>>) -> Self {
        Self { names, ..self }
    }

    /// The same with what has become of the diagnoses for an OTLP receiver.
    #[must_use]
    pub fn with_exported(self, exported: Option<Arc<Exported>>) -> Self {
        Self { exported, ..self }
    }

    /// The page. Reads the kernel's maps: not for a thread that must not wait.
    pub fn render(&self, format: Format) -> Result<String, ScrapeError> {
        let mut registry = Registry::with_prefix("tcpwhy");
        registry.register_collector(Box::new(self.page(format).map_err(ScrapeError::Counters)?));
        let mut text = String::with_capacity(16 << 10);
        encode(&mut text, &registry)?;
        Ok(match format {
            Format::OpenMetrics => text,
            Format::Classic => classic::from_open_metrics(&text),
        })
    }

    /// The table of probes.
    pub fn probes(&self) -> Vec<ProbeHealth> {
        self.counters.probes()
    }

    /// TCP's memory now; `None` where it can't be read.
    pub fn tcp_memory(&self) -> Option<TcpMemory> {
        self.counters.tcp_memory()
    }

    /// What was lost since the start, by place, and how many events of storms others stand for.
    pub fn losses(&self) -> Reading<(BTreeMap<String, u64>, u64)> {
        let places = self.tallies.lost().into_iter().chain([("missed", self.feed.missed())]);
        let mut lost: BTreeMap<_, _> = places.map(|(place, count)| (place.to_owned(), count)).collect();
        let health = self.counters.health()?;
        for (stage, count) in health.iter().flat_map(page::lost) {
            *lost.entry(stage.to_owned()).or_default() += count;
        }
        Ok((lost, health.iter().map(|row| row.coalesced).sum()))
    }

    fn page(&self, format: Format) -> Reading<MetricsPage> {
        let mut tally = self.tallies.tally();
        if format == Format::Classic {
            // It has no place for them.
            tally.examples = Examples::default();
        }
        let mut reconcile = self.reconcile.lock();
        let compared = Compared::read(&*self.counters)?;
        let health = self.counters.health()?;
        let differences = reconcile.differences(&compared, &health);
        let mut counts = compared.counts;
        counts.extend(deaths(&tally.stats));
        let of: Vec<_> = counts.iter().map(|(key, _)| (key.cgroup, key.netns)).collect();
        let workloads = self.tallies.workloads(&of);
        let mut admission = self.admission.lock();
        let (sums, gone) = workload::aggregate(&counts, &workloads, &tally.examples, &mut admission);
        reconcile.forget(&counts, &gone);
        self.counters.forget(&gone);
        Ok(MetricsPage {
            counts: sums,
            health,
            differences,
            programs: self.counters.programs()?,
            probes: self.counters.probes(),
            tcp_memory: self.counters.tcp_memory(),
            tally,
            tail_missed: self.feed.missed(),
            host: Arc::clone(&self.host),
            names: self.names.iter().map(|names| (names.source, names.is_up())).collect(),
            exported: self.exported.iter().flat_map(|exported| exported.outcomes()).collect(),
        })
    }
}

/// Deaths in the shape of the kernel side's counters.
fn deaths(stats: &Stats) -> impl Iterator<Item = (CountKey, Count)> {
    stats.deaths_in.iter().map(|(&(cause, cgroup, netns), &events)| {
        let key = CountKey { cgroup, netns, signal: DIAGNOSIS, detail: cause as u16 };
        (key, Count { events, ..Count::default() })
    })
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("host", &self.host).finish_non_exhaustive()
    }
}
