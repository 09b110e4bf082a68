use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use agent_common::count::{Count, CountKey, FAILED, Health, OTHER_CGROUP, REASON_ABSENT};
use agent_common::{retransmit, signal};
use agent_correlate::families::Walks;
use agent_correlate::place::{Place, Whose};
use agent_model::counters::{Counters, HealthTable, ProbeHealth, ProgramStats, Reading};
use agent_model::event::{HostFacts, LogLines, Owned, Snmp, TcpMemory};
use agent_source::names::NamesUp;

use super::{
    CgroupTally, FAMILIES, FamilyTally, Format, MetricFamily, Metrics, Most, OPEN_TELEMETRY, PLACE_LABELS,
    Tallies, Tally, Workload,
};
use crate::schema::sample;
use crate::serve::feed::Feed;
use agent_model::golden;

/// Counters of a kernel that never was.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) counts: Vec<(CountKey, Count)>,
    pub(crate) programs: Vec<ProgramStats>,
    pub(crate) memory: Option<TcpMemory>,
    pub(crate) broken: bool,
}

impl Counters for Fake {
    fn counts(&self) -> Reading<Vec<(CountKey, Count)>> {
        if self.broken { Err("read map COUNTS".into()) } else { Ok(self.counts.clone()) }
    }

    fn health(&self) -> Reading<HealthTable> {
        let mut health = HealthTable::default();
        health[usize::from(signal::RETRANSMIT)] = Health { written: 12, lost_ring: 3, ..Health::default() };
        Ok(health)
    }

    fn programs(&self) -> Reading<Vec<ProgramStats>> {
        Ok(self.programs.clone())
    }

    fn tcp_memory(&self) -> Option<TcpMemory> {
        self.memory.clone()
    }

    fn snmp(&self) -> Option<Snmp> {
        Some(Snmp { netns: 1, out_rsts: 5, retrans_segs: 9, retrans_fail: 1 })
    }

    fn probes(&self) -> Vec<ProbeHealth> {
        let probe = |name, up| ProbeHealth {
            name,
            required: up,
            up,
            error: (!up).then(|| "not in this kernel".to_owned()),
            lost_without: "who runs out of memory".into(),
        };
        vec![probe("retransmit".into(), true), probe("buf_limit_exceeded".into(), false)]
    }
}

impl Tallies for Fake {
    fn tally(&self) -> Tally {
        Tally {
            decode_errors: [("short", 0), ("signal", 1)].into(),
            evicted: [("connections", 2)].into(),
            connections: [("dead", 4), ("live", 17)].into(),
            stats: agent_diagnose::stats::Stats::some(),
            examples: super::example::tests::some(),
            families: vec![FamilyTally {
                comm: "httpd".into(),
                sockets: 501,
                connections: 500,
                children: 500,
                memory: 45_000_000,
            }],
            walks: Walks { count: 3, time: Duration::from_millis(12) },
            cgroups: [(
                Workload::of(2, &Whose::Of(sample::place())).unwrap(),
                CgroupTally {
                    sockets: 3 << 20,
                    limit: Some((200 << 20, 256 << 20)),
                    hits: 7,
                    throttled: None,
                    stalled_us: Some(1_500_000),
                },
            )]
            .into(),
            owners: [(
                ("shop".into(), "web-7d9f4c-x2v5p".into()),
                Owned { kind: "Deployment".into(), name: "web".into() },
            )]
            .into(),
        }
    }

    fn lost(&self) -> [(&'static str, u64); 2] {
        [("decode", 1), ("evicted", 2)]
    }
}

/// The host of [`busy`] as a node: its cgroup 2 is a container.
struct Node(Fake);

impl Tallies for Node {
    fn tally(&self) -> Tally {
        self.0.tally()
    }

    fn lost(&self) -> [(&'static str, u64); 2] {
        self.0.lost()
    }

    fn workloads(&self, of: &[(u64, u32)]) -> Vec<Option<Workload>> {
        let place = |cgroup| if cgroup == 2 { sample::place() } else { Place::default() };
        let whose = |cgroup| if cgroup == 1 { Whose::Gone } else { Whose::Of(place(cgroup)) };
        of.iter().map(|&(cgroup, _)| Workload::of(cgroup, &whose(cgroup))).collect()
    }
}

#[test]
fn a_node_has_series_for_its_pods_and_none_for_who_is_gone() {
    let metrics = Metrics::new(Arc::new(busy()), Arc::new(Node(busy())), Feed::default(), host())
        .with_names(vec![Arc::new(NamesUp::new("kubernetes"))]);
    let page = metrics.render(Format::Classic).unwrap();
    let timeouts: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with("tcpwhy_retransmits_total") && !line.ends_with(" 0"))
        .collect();
    assert_eq!(
        timeouts,
        [
            "tcpwhy_retransmits_total{namespace=\"other\",pod=\"other\",container=\"other\",kind=\"fast\"} 5",
            "tcpwhy_retransmits_total{namespace=\"shop\",pod=\"web-7d9f4c-x2v5p\",container=\"nginx\",\
             kind=\"timeout\"} 4",
        ]
    );
    for series in [
        "tcpwhy_names_up{source=\"kubernetes\"} 0",
        "tcpwhy_pod_owner{namespace=\"shop\",pod=\"web-7d9f4c-x2v5p\",owner_kind=\"Deployment\",owner_name=\"web\"} 1",
    ] {
        assert!(page.lines().any(|line| line == series), "{series} is not in\n{page}");
    }
}

impl crate::answers::why::Answers for Fake {
    fn walk(&self, _: Duration) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }

    fn families(&self) -> agent_diagnose::families::Listing {
        agent_diagnose::families::Listing::default()
    }

    fn gathered(&self) -> agent_advise::Gathered {
        agent_advise::Gathered::default()
    }

    fn seek(&self, _: &crate::answers::why::Wanted) {}

    fn why(&self, _: &crate::answers::why::Wanted) -> Option<crate::answers::why::WhyReport> {
        None
    }

    fn overview(&self) -> crate::answers::top::Overview {
        crate::answers::top::Overview::default()
    }
}

fn count(cgroup: u64, signal: u16, detail: u16, events: u64) -> (CountKey, Count) {
    let key = CountKey { cgroup, netns: 4_026_531_840, signal, detail };
    (key, Count { events, segments: events * 2, bytes: events * 2896 })
}

pub(crate) fn busy() -> Fake {
    let counts = vec![
        count(1, signal::RETRANSMIT, retransmit::TIMEOUT, 3),
        count(2, signal::RETRANSMIT, retransmit::TIMEOUT, 4),
        count(OTHER_CGROUP, signal::RETRANSMIT, retransmit::FAST, 5),
        count(1, signal::RETRANSMIT, retransmit::TIMEOUT | FAILED, 1),
        count(1, signal::SYNACK_RETRANSMIT, retransmit::SYNACK, 2),
        count(0, signal::RESET_SENT, 1, 9),
        count(0, signal::RESET_SENT, 77, 1),
        count(1, signal::RESET_RECEIVED, 2, 6),
        count(1, signal::BUF_LIMIT_EXCEEDED, 1, 8),
        count(1, signal::RCVQUEUE_FULL, 0, 1),
        count(1, signal::STATE_CHANGED, 7, 100),
    ];
    let run_time = Duration::from_micros(1500);
    let program = |name, runs| ProgramStats { name, run_time, runs, misses: 0, instructions: 900 };
    let programs = vec![program("retransmit".into(), 12), program("reset_sent".into(), 0)];
    Fake { counts, programs, memory: Some(memory()), broken: false }
}

fn memory() -> TcpMemory {
    TcpMemory {
        pages: 380_000,
        limits: [287_898, 383_867, 575_796],
        sockets: 1200,
        orphans: 3,
        max_orphans: 131_072,
        in_use: 1190,
        time_wait: 40,
        counters: [("PruneCalled".into(), 12), ("TCPMemoryPressuresChrono".into(), 1500)].into(),
        log: Some(LogLines { out_of_memory: 0, too_many_orphans: 2 }),
        ..TcpMemory::default()
    }
}

pub(crate) fn host() -> Arc<HostFacts> {
    let reasons = [(0, "NOT_SPECIFIED"), (1, "NO_SOCKET"), (25, "MAX")];
    let reset_reasons = reasons.into_iter().map(|(number, name)| (number, name.into())).collect();
    Arc::new(HostFacts {
        hz: 250,
        release: "6.18.44".into(),
        reset_reasons,
        page_size: 4096,
        ..HostFacts::default()
    })
}

pub(crate) fn metrics(fake: Fake, host: Arc<HostFacts>) -> Metrics {
    let fake = Arc::new(fake);
    Metrics::new(Arc::clone(&fake) as _, fake, Feed::default(), host)
}

#[test]
fn a_busy_host_in_both_formats() {
    let metrics = metrics(busy(), host());
    golden::check("agent/src/metrics/golden.om", &metrics.render(Format::OpenMetrics).unwrap());
    golden::check("agent/src/metrics/golden.prom", &metrics.render(Format::Classic).unwrap());
}

#[test]
fn a_quiet_host_has_every_enum_value_at_zero() {
    let page = metrics(Fake::default(), host()).render(Format::Classic).unwrap();
    for series in [
        "tcpwhy_retransmits_total{kind=\"tail_loss_probe\"} 0",
        "tcpwhy_resets_sent_total{reason=\"NO_SOCKET\"} 0",
        "tcpwhy_resets_received_total{state=\"SYN_SENT\"} 0",
        "tcpwhy_buf_limit_exceeded_total{direction=\"send\"} 0",
        "tcpwhy_rcvqueue_full_total 0",
        "tcpwhy_records_lost_total{stage=\"ring\",signal=\"reset_sent\"} 0",
        "tcpwhy_tail_missed_total 0",
    ] {
        assert!(page.lines().any(|line| line == series), "{series} is not in\n{page}");
    }
    assert!(!page.contains("MAX") && !page.contains("ebpf_runs_total{"), "{page}");
}

#[test]
fn before_6_10_reset_reasons_are_absent() {
    let fake = Fake { counts: vec![count(1, signal::RESET_SENT, REASON_ABSENT, 4)], ..Fake::default() };
    let page = metrics(fake, Arc::default()).render(Format::Classic).unwrap();
    let resets: Vec<_> = page.lines().filter(|line| line.starts_with("tcpwhy_resets_sent")).collect();
    assert_eq!(resets, ["tcpwhy_resets_sent_total{reason=\"absent\"} 4"]);
}

#[test]
fn a_map_that_cannot_be_read_fails_the_scrape() {
    let error =
        metrics(Fake { broken: true, ..Fake::default() }, host()).render(Format::Classic).unwrap_err();
    assert_eq!(format!("{:#}", anyhow::Error::from(error)), "read the kernel's counters: read map COUNTS");
}

#[test]
fn the_page_has_the_families_of_the_table_and_no_other() {
    let page = metrics(busy(), host()).render(Format::Classic).unwrap();
    let written: BTreeSet<_> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let listed: BTreeSet<_> = FAMILIES.iter().map(MetricFamily::series).collect();
    assert_eq!(written, listed.iter().map(String::as_str).collect());
}

#[test]
fn open_metrics_only_for_who_asks() {
    let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
        application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,*/*;q=0.2";
    assert_eq!(Format::negotiate(prometheus), Format::OpenMetrics);
    assert_eq!(Format::negotiate("application/openmetrics-text"), Format::OpenMetrics);
    for other in
        ["", "*/*", "text/plain", "text/html, */*;q=0.8", "application/openmetrics-text;q=0", ";q=x,,"]
    {
        assert_eq!(Format::negotiate(other), Format::Classic, "{other}");
    }
    assert_eq!(Format::negotiate("application/openmetrics-text;q=0.1, text/plain"), Format::Classic);
}

/// What docs/metrics.md says before its table, and after it.
const TOP: &str = "# Metrics

Served at `/metrics`, as OpenMetrics to who asks for it and as Prometheus text 0.0.4 to all others.
Counters are the kernel side's own, read at the scrape: they stay exact when records are lost.
`tcpwhy replay --metrics` gives all of them as they were at the end of the run, but for what is of the live
agent alone: `tcpwhy_tail_missed`, `tcpwhy_probe_up`, `tcpwhy_names_up`, `tcpwhy_snmp_difference`
and `tcpwhy_ebpf_*`. Those of the host's memory and counters are as they were told last.
No address, port or process id is ever a label.

What sockets did also has the labels of where they live: `namespace`, `pod` and `container` of a pod (the
pod's UID and the first digits of the container's id as long as no names are known), `container` outside Kubernetes,
`unit` of a systemd unit, none of the host at large. That holds for the metrics with a bound for each place and for
`tcpwhy_cgroup_*`. 512 places have series of their own, all further ones share `other`; with its cgroup a place's series
go, a minute later. A series begins when it is counted first; only those of the host at large are there from the start,
with 0.

As OpenMetrics `tcpwhy_resets_sent_total`, `tcpwhy_resets_received_total` and `tcpwhy_diagnoses_total` have exemplars:
the last connection that they counted, as `connection`, which `tcpwhy why --id` takes on its host, and `shared_id`, which
`tcpwhy why --shared-id` takes at both ends (at most 51 of the 128 characters that are allowed). Prometheus keeps them
with `--enable-feature=exemplar-storage`.

| metric | type | series at most | labels | meaning |
|---|---|---|---|---|
";
const OPEN_TELEMETRY_TOP: &str = "
## OpenTelemetry's names

Its conventions have these; for all other metrics they have no name. The names above are Prometheus's own style, since it
is Prometheus that reads them; log records (docs/kubernetes.md) have OpenTelemetry's attributes.

| metric | OpenTelemetry | labels |
|---|---|---|
";

fn bound(family: &MetricFamily) -> String {
    match family.most {
        Most::Host(series) => series.to_string(),
        Most::EachPlace(series) => format!("{series} each place"),
    }
}

#[test]
fn the_metrics_page_of_the_docs_is_the_table() {
    let mut page = TOP.to_owned();
    for family in FAMILIES {
        let labels = family.labels.iter().map(|(name, values)| format!("`{name}`: {values}"));
        let labels = labels.collect::<Vec<_>>().join("<br>");
        let (series, kind, bound) = (family.series(), family.kind.as_str(), bound(family));
        writeln!(page, "| `{series}` | {kind} | {bound} | {labels} | {}. |", family.help).unwrap();
    }
    page += OPEN_TELEMETRY_TOP;
    for (families, name, labels) in OPEN_TELEMETRY {
        let ours: Vec<_> = families.iter().map(|family| format!("`{}`", family.series())).collect();
        writeln!(page, "| {} | {name} | {labels} |", ours.join(", ")).unwrap();
    }
    page += "\n| label | attribute |\n|---|---|\n";
    for (label, attribute) in PLACE_LABELS {
        writeln!(page, "| `{label}` | `{attribute}` |").unwrap();
    }
    golden::check("docs/metrics.md", &page);
}

/// A host and a node, both with something in every family.
#[test]
fn no_metric_has_more_series_than_its_bound() {
    let node = Metrics::new(Arc::new(busy()), Arc::new(Node(busy())), Feed::default(), host());
    let pages = [metrics(busy(), host()), node].map(|metrics| metrics.render(Format::Classic).unwrap());
    // The host, a container, and `other`.
    let places = 3;
    for page in pages {
        for family in FAMILIES {
            let name = family.series();
            let parts = ["", "_bucket", "_sum", "_count"].map(|part| format!("{name}{part}"));
            let is_its = |line: &&str| parts.iter().any(|part| line.split(['{', ' ']).next() == Some(part));
            let most = match family.most {
                Most::Host(series) => series,
                Most::EachPlace(series) => series * places,
            };
            let series = page.lines().filter(is_its).count();
            assert!(series <= most, "{name}: {series} of {most}");
        }
    }
}
