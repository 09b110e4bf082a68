//! One scrape: values at one moment, and how they are written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use agent_common::count::{Count, FAILED, Health, REASON_ABSENT};
use agent_common::signal;
use agent_diagnose::stats::{Histogram, STAGE_WORDS, Stats};
use agent_model::cause::Cause;
use agent_model::counters::{HealthTable, ProbeHealth, ProgramStats};
use agent_model::drops::{self, Class};
use agent_model::event::{HostFacts, Owned, TcpMemory};
use agent_model::words;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet,
};

use super::family::{self, MetricFamily};
use super::workload::{Counts, Sum, Workload};
use super::{DIAGNOSIS, Tally, cgroup, memory};

/// States in which a RST can be accepted.
const RESET_STATES: [u16; 9] = [1, 2, 3, 4, 5, 7, 8, 9, 11];

/// `reason` on a kernel that gives none.
const ABSENT: &str = "absent";

/// What is written.
#[derive(Debug)]
pub(super) struct MetricsPage {
    pub(super) counts: Counts,
    pub(super) health: HealthTable,
    pub(super) differences: Vec<(&'static str, i64)>,
    pub(super) programs: Vec<ProgramStats>,
    pub(super) probes: Vec<ProbeHealth>,
    pub(super) tcp_memory: Option<TcpMemory>,
    pub(super) tally: Tally,
    pub(super) tail_missed: u64,
    pub(super) host: Arc<HostFacts>,
    pub(super) names: Vec<(&'static str, bool)>,
    pub(super) exported: Vec<(&'static str, u64)>,
}

pub(super) type Labels<'a> = Vec<(&'a str, &'a str)>;

/// Sums by workload and the value of one label.
type Sums = BTreeMap<(Workload, Cow<'static, str>), Sum>;

impl Collector for MetricsPage {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        self.retransmits(&mut to)?;
        self.resets(&mut to)?;
        self.memory(&mut to)?;
        memory::encode(self.tcp_memory.as_ref(), &self.host, &mut to)?;
        cgroup::encode(&self.tally.cgroups, &mut to)?;
        self.losses(&mut to)?;
        self.agent(&mut to)?;
        self.programs(&mut to)?;
        let version = [("version", env!("CARGO_PKG_VERSION")), ("kernel", &self.host.release)];
        descriptor(&mut to, &family::BUILD)?.encode_info(&version.to_vec())
    }
}

impl MetricsPage {
    fn retransmits(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kinds = || words::KINDS.iter().map(|kind| Cow::Borrowed(*kind));
        let sent = self.sums(kinds(), |signal, detail| kind(signal, detail, false));
        let failed = self.sums(kinds(), |signal, detail| kind(signal, detail, true));
        sums(to, &family::RETRANSMITS, &sent, |count| count.events)?;
        sums(to, &family::RETRANSMITTED_SEGMENTS, &sent, |count| count.segments)?;
        sums(to, &family::RETRANSMITTED, &sent, |count| count.bytes)?;
        sums(to, &family::RETRANSMIT_FAILURES, &failed, |count| count.events)
    }

    fn resets(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let sent = self.sums(self.reasons(), |signal, detail| {
            (signal == signal::RESET_SENT).then(|| self.reason(detail))
        });
        let received = self.sums(RESET_STATES.into_iter().map(state), |signal, detail| {
            (signal == signal::RESET_RECEIVED).then(|| state(detail))
        });
        sums(to, &family::RESETS_SENT, &sent, |count| count.events)?;
        sums(to, &family::RESETS_RECEIVED, &received, |count| count.events)
    }

    fn memory(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let refused = self.sums([0, 1].into_iter().map(direction), |signal, detail| {
            (signal == signal::BUF_LIMIT_EXCEEDED).then(|| direction(detail))
        });
        let full = self.sums([Cow::Borrowed("")], |signal, _| {
            (signal == signal::RCVQUEUE_FULL).then_some(Cow::Borrowed(""))
        });
        sums(to, &family::BUF_LIMIT_EXCEEDED, &refused, |count| count.events)?;
        sums(to, &family::RCVQUEUE_FULL, &full, |count| count.events)?;
        let known = self
            .host
            .drop_reasons
            .values()
            .filter(|name| matches!(drops::class(name), Class::Shortage | Class::Netfilter));
        let known = known.map(|name| Cow::Owned(name.to_string()));
        let dropped = self.sums(known, |signal, detail| {
            (signal == signal::PACKET_DROPPED).then(|| self.drop_reason(detail)).flatten()
        });
        sums(to, &family::PACKETS_DROPPED, &dropped, |count| count.events)
    }

    fn losses(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let rows = || words::SIGNALS.iter().zip(&self.health).skip(1);
        let written = rows().map(|(signal, health)| (vec![("signal", *signal)], health.written));
        counters(to, &family::RECORDS, written)?;
        let lost = rows().flat_map(|(signal, health)| {
            lost(health).map(|(stage, lost)| (vec![("stage", stage), ("signal", *signal)], lost))
        });
        counters(to, &family::RECORDS_LOST, lost)?;
        let coalesced = rows().map(|(signal, health)| (vec![("signal", *signal)], health.coalesced));
        counters(to, &family::RECORDS_COALESCED, coalesced)?;
        gauges(to, &family::SNMP_DIFFERENCE, self.differences.iter().copied())?;
        words(to, &family::DECODE_ERRORS, &self.tally.decode_errors)?;
        words(to, &family::EVICTED, &self.tally.evicted)?;
        counters(to, &family::TAIL_MISSED, [(Labels::new(), self.tail_missed)])?;
        let exported = self.exported.iter().map(|(outcome, count)| (vec![("outcome", *outcome)], *count));
        counters(to, &family::OTLP_RECORDS, exported)
    }

    fn agent(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let connections = self.tally.connections.iter();
        gauges(to, &family::CONNECTIONS, connections.map(|(state, count)| (*state, *count)))?;
        super::process_family::encode(&self.tally, to)?;
        self.stalls(to)?;
        let probes = self.probes.iter().map(|probe| (&*probe.name, u64::from(probe.up)));
        gauges(to, &family::PROBE_UP, probes)?;
        gauges(to, &family::NAMES_UP, self.names.iter().map(|(source, up)| (*source, u64::from(*up))))?;
        self.owners(to)
    }

    fn owners(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = descriptor(to, &family::POD_OWNER)?;
        for ((namespace, pod), Owned { kind, name }) in &self.tally.owners {
            let labels: Labels<'_> =
                vec![("namespace", namespace), ("pod", pod), ("owner_kind", kind), ("owner_name", name)];
            metric.encode_family(&labels)?.encode_gauge(&1_u64)?;
        }
        Ok(())
    }

    fn stalls(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Stats { stalled, durations, timeouts, recoveries, early, late, deaths: _, deaths_in: _ } =
            &self.tally.stats;
        let causes = Cause::WORDS.iter().map(|cause| Cow::Borrowed(*cause));
        let deaths = self.sums(causes, |signal, detail| {
            let word = Cause::WORDS.get(usize::from(detail)).filter(|_| signal == DIAGNOSIS);
            word.map(|word| Cow::Borrowed(*word))
        });
        sums(to, &family::DIAGNOSES, &deaths, |count| count.events)?;
        gauges(to, &family::STALLED, STAGE_WORDS.into_iter().zip(stalled.iter().copied()))?;
        histogram(to, &family::STALL_DURATION, durations)?;
        histogram(to, &family::TIMEOUT_RTO, timeouts)?;
        histogram(to, &family::RECOVERY_STAGE, recoveries)?;
        let mut errors = descriptor(to, &family::DEADLINE_ERROR)?;
        for (side, values) in [("early", early), ("late", late)] {
            encode(&mut errors.encode_family(&vec![("side", side)])?, values)?;
        }
        Ok(())
    }

    /// Nothing at all of run times that the kernel does not measure: absent is not zero. It always counts
    /// misses.
    fn programs(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let rows = || self.programs.iter().map(|program| (vec![("program", &*program.name)], program));
        let measured = || rows().filter(|(_, program)| program.runs > 0);
        let seconds = measured().map(|(labels, program)| (labels, program.run_time.as_secs_f64()));
        counters(to, &family::EBPF_RUN, seconds)?;
        counters(to, &family::EBPF_RUNS, measured().map(|(labels, program)| (labels, program.runs)))?;
        counters(to, &family::EBPF_MISSES, rows().map(|(labels, program)| (labels, program.misses)))
    }

    /// Sums what `label` names, from 0 on for each of `known`.
    fn sums(
        &self,
        known: impl IntoIterator<Item = Cow<'static, str>>,
        label: impl Fn(u16, u16) -> Option<Cow<'static, str>>,
    ) -> Sums {
        let mut sums: Sums = known.into_iter().map(|word| ((Workload::HOST, word), Sum::default())).collect();
        // The kernel side reserves rows, also for what this kernel has no word for.
        let counted = self.counts.iter().filter(|(_, sum)| sum.count != Count::default());
        for ((workload, signal, detail), sum) in counted {
            if let Some(word) = label(*signal, *detail) {
                sums.entry((workload.clone(), word)).or_default().add(sum);
            }
        }
        sums
    }

    /// All reasons that the running kernel has; its sentinel is none.
    fn reasons(&self) -> Vec<Cow<'static, str>> {
        let names = self.host.reset_reasons.values().filter(|name| &***name != "MAX");
        let names: Vec<_> = names.map(|name| Cow::Owned(name.to_string())).collect();
        if names.is_empty() { vec![Cow::Borrowed(ABSENT)] } else { names }
    }

    /// `None` of numbers that stand in the map for kernels with more reasons, and are never counted.
    fn drop_reason(&self, detail: u16) -> Option<Cow<'static, str>> {
        self.host.drop_reasons.get(&i32::from(detail)).map(|name| Cow::Owned(name.to_string()))
    }

    fn reason(&self, detail: u16) -> Cow<'static, str> {
        match self.host.reset_reasons.get(&i32::from(detail)) {
            _ if detail == REASON_ABSENT => Cow::Borrowed(ABSENT),
            Some(name) => Cow::Owned(name.to_string()),
            None => Cow::Owned(detail.to_string()),
        }
    }
}

fn kind(signal: u16, detail: u16, failed: bool) -> Option<Cow<'static, str>> {
    match signal {
        signal::RETRANSMIT if (detail & FAILED != 0) == failed => {
            Some(words::kind_number(detail & !FAILED).into())
        }
        signal::SYNACK_RETRANSMIT if !failed => Some(words::kind_number(detail).into()),
        _ => None,
    }
}

fn state(number: u16) -> Cow<'static, str> {
    words::STATES.get(usize::from(number)).map_or_else(|| number.to_string().into(), |word| (*word).into())
}

/// `SK_MEM_SEND`, `SK_MEM_RECV`
fn direction(number: u16) -> Cow<'static, str> {
    if number == 0 { "send".into() } else { "receive".into() }
}

/// What the kernel side lost of one signal, by stage.
pub(super) fn lost(health: &Health) -> [(&'static str, u64); 4] {
    let Health { written: _, lost_ring, lost_read, lost_socket, lost_count, coalesced: _ } = *health;
    [("read", lost_read), ("ring", lost_ring), ("socket", lost_socket), ("count", lost_count)]
}

pub(super) fn descriptor<'a>(
    to: &'a mut DescriptorEncoder<'_>,
    family: &'a MetricFamily,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    to.encode_descriptor(family.name, &format!("{}.", family.help), family.unit.as_ref(), family.kind)
}

pub(super) fn counters<'a, V: EncodeCounterValue>(
    to: &mut DescriptorEncoder<'_>,
    family: &MetricFamily,
    rows: impl IntoIterator<Item = (Labels<'a>, V)>,
) -> fmt::Result {
    let mut metric = descriptor(to, family)?;
    rows.into_iter().try_for_each(|(labels, value)| counter(&mut metric, &labels, &value))
}

fn counter<V: EncodeCounterValue>(
    metric: &mut MetricEncoder<'_>,
    labels: &Labels<'_>,
    value: &V,
) -> fmt::Result {
    if labels.is_empty() {
        metric.encode_counter::<NoLabelSet, V, u64>(value, None)
    } else {
        metric.encode_family(labels)?.encode_counter::<NoLabelSet, V, u64>(value, None)
    }
}

pub(super) fn gauges<'a, V: EncodeGaugeValue>(
    to: &mut DescriptorEncoder<'_>,
    family: &MetricFamily,
    rows: impl IntoIterator<Item = (&'a str, V)>,
) -> fmt::Result {
    let label = family.labels[0].0;
    let mut metric = descriptor(to, family)?;
    for (word, value) in rows {
        metric.encode_family(&vec![(label, word)])?.encode_gauge(&value)?;
    }
    Ok(())
}

fn histogram(to: &mut DescriptorEncoder<'_>, family: &MetricFamily, values: &Histogram) -> fmt::Result {
    encode(&mut descriptor(to, family)?, values)
}

fn encode(to: &mut MetricEncoder<'_>, values: &Histogram) -> fmt::Result {
    to.encode_histogram::<NoLabelSet>(values.sum(), values.count(), &values.buckets(), None)
}

/// A counter with the workload's labels and at most one of its own.
fn sums(
    to: &mut DescriptorEncoder<'_>,
    family: &MetricFamily,
    sums: &Sums,
    of: fn(&Count) -> u64,
) -> fmt::Result {
    let mut metric = descriptor(to, family)?;
    for ((workload, word), Sum { count, example }) in sums {
        let labels = labels(family, workload, word);
        match example {
            Some(example) => example.encode(metric.encode_family(&labels)?, of(count))?,
            None => counter(&mut metric, &labels, &of(count))?,
        }
    }
    Ok(())
}

fn labels<'a>(family: &MetricFamily, workload: &'a Workload, word: &'a str) -> Labels<'a> {
    let own = family.labels.first().map(|(name, _)| (*name, word));
    workload.labels().chain(own).collect()
}

fn words(
    to: &mut DescriptorEncoder<'_>,
    family: &MetricFamily,
    counts: &BTreeMap<&'static str, u64>,
) -> fmt::Result {
    let label = family.labels[0].0;
    counters(to, family, counts.iter().map(|(word, count)| (vec![(label, *word)], *count)))
}
