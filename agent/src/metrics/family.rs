//! All metrics in one table: the page, its tests and `docs/metrics.md` come from here.

use agent_common::signal::PROBES;
use agent_diagnose::stats::STAGE_WORDS;
use agent_model::cause::Cause;
use agent_model::decode::DecodeError;
use agent_model::event::COUNTERS;
use agent_model::limits::{CGROUPS, PODS};
use agent_model::words::{KINDS, SIGNALS, STATES};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use self::Most::{EachPlace, Host};
use super::process_family::NAMES;

/// Above all reasons of `enum sk_rst_reason`: 24 to 26 of them up to Linux 7.3.
const REASONS: usize = 32;
/// Above all reasons of `enum skb_drop_reason`: 128 of them in Linux 6.18.
const DROP_REASONS: usize = 192;
/// Above all programs of the kernel side.
const PROGRAMS: usize = 16;
const _: () = assert!(PROBES.len() <= PROGRAMS);

/// One metric with all its series.
#[derive(Debug)]
pub struct MetricFamily {
    /// Without prefix, unit and `_total`, which the encoder adds.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// Base unit.
    pub unit: Option<Unit>,
    /// Counter, gauge or info.
    pub kind: MetricType,
    /// Names of its labels and what their values are.
    pub labels: &'static [(&'static str, &'static str)],
    /// Series that it can have at most.
    pub most: Most,
}

/// A bound on series, those of a histogram's buckets, sum and count included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Most {
    /// On the whole host.
    Host(usize),
    /// Of each place that sockets live in; of which 512 have series of their own.
    EachPlace(usize),
}

impl MetricFamily {
    /// As Prometheus names its series.
    pub fn series(&self) -> String {
        let unit = self.unit.as_ref().map(|unit| format!("_{}", unit.as_str())).unwrap_or_default();
        let suffix = match self.kind {
            MetricType::Counter => "_total",
            MetricType::Info => "_info",
            MetricType::Gauge | MetricType::Histogram | MetricType::Unknown => "",
        };
        format!("tcpwhy_{}{unit}{suffix}", self.name)
    }
}

const KIND: (&str, &str) =
    ("kind", "`timeout`, `fast`, `tail_loss_probe`, `reorder`, `slow_start`, `syn`, `synack`, `unknown`");
const SIGNAL: (&str, &str) =
    ("signal", "the event's word, as in docs/schema.md, or `sock_held` for a finding of the file walk");
const COMM: (&str, &str) = ("comm", "name of the process that listens; `other` for all but the largest 20");
const PROGRAM: (&str, &str) = ("program", "name of the program");

/// OpenTelemetry's name for what a metric counts, and how its attributes are named here. `system.network.tcp.*` are
/// proposed (<https://github.com/open-telemetry/semantic-conventions/issues/3682>), the others in development.
pub const OPEN_TELEMETRY: &[(&[MetricFamily], &str, &str)] = &[
    (
        &[RETRANSMITTED_SEGMENTS],
        "`system.network.tcp.retransmits`",
        "`kind` is `network.tcp.retransmit.type`: `fast`, `tail_loss_probe` and `timeout` are its words; `reorder`, \
         `slow_start`, `syn`, `synack` and `unknown` have none there, and its `spurious` is known only later: the \
         cause `spurious_retransmit`",
    ),
    (
        &[RESETS_SENT, RESETS_RECEIVED],
        "`system.network.tcp.resets`",
        "`network.tcp.reset.cause` has four words, the kernel more than twenty: they stay as `reason`; \
         `tcpwhy_diagnoses_total` has the cause",
    ),
    (
        &[DIAGNOSES],
        "`system.network.tcp.connection.failures`, of attempts alone",
        "`cause` is `error.type`: `connection_refused` its `refused`, `connect_timeout` its `timed-out`",
    ),
    (
        &[PACKETS_DROPPED],
        "`system.network.packet.dropped`, which counts those of network interfaces",
        "`reason` has no attribute there",
    ),
    (
        &[SOCKETS],
        "`system.network.connection.count`, by state",
        "`state` is `network.connection.state` only for `time_wait`; `network.transport` is `tcp`",
    ),
];

/// Labels of places, and what OpenTelemetry calls them; attributes of log records have these names.
pub const PLACE_LABELS: &[(&str, &str)] = &[
    ("namespace", "k8s.namespace.name"),
    ("pod", "k8s.pod.name"),
    ("container", "k8s.container.name"),
    ("owner_name", "k8s.deployment.name, k8s.statefulset.name, ... by owner_kind"),
    ("comm", "process.command"),
];

macro_rules! families {
    ($($(#[$unit:ident])? $const:ident: $kind:ident $name:literal
        { $($label:expr),* } most($most:expr) $help:literal;)*) => {
        $(pub(super) const $const: MetricFamily = MetricFamily {
            name: $name,
            help: $help,
            unit: families!(@unit $($unit)?),
            kind: MetricType::$kind,
            labels: &[$($label),*],
            most: $most,
        };)*

        /// All, in the order of the page.
        pub const FAMILIES: &[MetricFamily] = &[$($const),*];
    };
    (@unit) => { None };
    (@unit $unit:ident) => { Some(Unit::$unit) };
}

families! {
    RETRANSMITS: Counter "retransmits" { KIND } most(EachPlace(KINDS.len()))
        "Packets sent again, each of one or more segments";
    RETRANSMITTED_SEGMENTS: Counter "retransmitted_segments" { KIND } most(EachPlace(KINDS.len()))
        "Segments sent again; comparable with SNMP RetransSegs";
    #[Bytes]
    RETRANSMITTED: Counter "retransmitted" { KIND } most(EachPlace(KINDS.len()))
        "Payload sent again";
    RETRANSMIT_FAILURES: Counter "retransmit_failures" { KIND } most(EachPlace(KINDS.len()))
        "Packets that could not be sent again for a reason on this host; kernel 6.17 and later";
    RESETS_SENT: Counter "resets_sent" {
        ("reason", "the kernel's `enum sk_rst_reason` without its prefix; `absent` before kernel 6.10")
    } most(EachPlace(REASONS)) "Resets that this host sent; comparable with SNMP OutRsts";
    RESETS_RECEIVED: Counter "resets_received" { ("state", "TCP state of the connection before") } most(EachPlace(STATES.len()))
        "Connections ended by the peer's reset, or by data that came after the close";
    BUF_LIMIT_EXCEEDED: Counter "buf_limit_exceeded" { ("direction", "`send` or `receive`") } most(EachPlace(2))
        "Times that a protocol's or a cgroup's limit refused memory to a socket";
    RCVQUEUE_FULL: Counter "rcvqueue_full" {} most(EachPlace(1))
        "Packets that did not fit a receive queue; never TCP, which queues elsewhere";
    PACKETS_DROPPED: Counter "packets_dropped" {
        ("reason", "the kernel's `enum skb_drop_reason` without its prefix, as `NETFILTER_DROP`, `QDISC_DROP` or `PROTO_MEM`, and reasons that are no trouble, as `TCP_RESET`; kernel 5.17 and later")
    } most(EachPlace(DROP_REASONS)) "Packets of TCP that this host dropped, on their way out, in or through, or at a socket";
    #[Bytes]
    TCP_MEMORY: Gauge "tcp_memory" {} most(Host(1))
        "Memory of all TCP sockets of the host; from kernel 6.0 on up to 1 MiB a processor is not seen or seen too much";
    #[Bytes]
    TCP_MEMORY_LIMIT: Gauge "tcp_memory_limit" { ("limit", "`low`, `pressure` or `high`: the values of tcp_mem") } most(Host(3))
        "Limits of the host for the memory of all TCP sockets";
    TCP_MEMORY_PRESSURE: Gauge "tcp_memory_pressure" {} most(Host(1))
        "1 while TCP is under pressure: windows do not grow, and sockets with more than their share are refused";
    SOCKETS: Gauge "sockets" { ("state", "`allocated`, `orphan`: closed and still sending; both of the whole host; `in_use`: bound to a port, `time_wait`; both of the agent's network namespace") } most(Host(4))
        "TCP sockets by what they are";
    ORPHANS_LIMIT: Gauge "orphans_limit" {} most(Host(1))
        "tcp_max_orphans of the host";
    NETSTAT: Counter "netstat" { ("counter", "the kernel's name in /proc/net/netstat, such as `PruneCalled`") } most(Host(COUNTERS.len()))
        "The kernel's own counters of memory and queues, in the agent's network namespace";
    #[Seconds]
    TCP_MEMORY_PRESSURE_TIME: Counter "tcp_memory_pressure" {} most(Host(1))
        "Time under pressure; the kernel adds it when pressure ends (TCPMemoryPressuresChrono)";
    KERNEL_LOG_LINES: Counter "kernel_log_lines" { ("line", "`out_of_memory`: tcp_mem is used up, `too_many_orphans`: tcp_max_orphans is") } most(Host(2))
        "Lines of the kernel log about TCP's memory since the agent started, of which the kernel writes at most 10 in 5 s; absent where the log may not be read";
    #[Bytes]
    CGROUP_SOCKETS: Gauge "cgroup_sockets" {} most(Host(CGROUPS))
        "Memory of the sockets of a workload, at the walk after the scrape before; of the 64 cgroups of the host that have most";
    #[Bytes]
    CGROUP_MEMORY: Gauge "cgroup_memory" {} most(Host(CGROUPS))
        "What counts against the limit that is nearest to a workload's sockets (`memory.current`; v1: TCP's own)";
    #[Bytes]
    CGROUP_MEMORY_LIMIT: Gauge "cgroup_memory_limit" {} most(Host(CGROUPS))
        "That limit (`memory.max`; v1: `memory.kmem.tcp.limit_in_bytes`); absent without one";
    CGROUP_LIMIT_HITS: Counter "cgroup_memory_limit_hits" {} most(Host(CGROUPS))
        "Times that it was hit (`memory.events`; v1: `memory.kmem.tcp.failcnt`)";
    CGROUP_THROTTLED: Counter "cgroup_sockets_throttled" {} most(Host(CGROUPS))
        "Times that a workload's sockets were held back (`sock_throttled`); kernel 7.1 and later, cgroup v2";
    #[Seconds]
    CGROUP_STALL: Counter "cgroup_memory_stall" {} most(Host(CGROUPS))
        "Time that tasks waited for memory below that limit (`memory.pressure`, some); cgroup v2 with PSI";
    RECORDS: Counter "records" { SIGNAL } most(Host(SIGNALS.len()))
        "Records that the kernel side handed to the agent";
    RECORDS_LOST: Counter "records_lost" {
        ("stage", "`read`: a kernel structure could not be read; `ring`: the ring buffer was full; `socket`: a socket was not remembered, its owner and totals are unknown; `count`: a workload was counted under `other`"),
        SIGNAL
    } most(Host(4 * SIGNALS.len())) "What was lost between hook and agent; the counters above stay exact";
    RECORDS_COALESCED: Counter "records_coalesced" { SIGNAL } most(Host(SIGNALS.len()))
        "Events without a record of their own, in a storm: later records stand for them (--storm-rate)";
    SNMP_DIFFERENCE: Gauge "snmp_difference" { ("counter", "`OutRsts` against `resets_sent` (kernel 6.10 and later), `RetransSegs` less `TCPRetransFail` against `retransmitted_segments`") } most(Host(2))
        "What the kernel counted in the agent's network namespace since the agent began, and the agent did not; below 0 what the agent alone did: 0 is as it should be. In a pod the namespace is its own, where little happens (docs/kubernetes.md)";
    DECODE_ERRORS: Counter "decode_errors" { ("reason", "what is wrong with the record") } most(Host(DecodeError::REASONS.len()))
        "Records that the agent could not decode";
    EVICTED: Counter "evicted" { ("table", "name of the table") } most(Host(9))
        "Entries given up because a table of the agent was full";
    TAIL_MISSED: Counter "tail_missed" {} most(Host(1))
        "Events that readers of the stream were too slow for";
    OTLP_RECORDS: Counter "otlp_records" { ("outcome", "`sent`; lost: `missed` in a storm, `full`: the queue was, `refused` by the receiver, `unsent` at the agent's end") } most(Host(5))
        "Diagnoses for the OTLP receiver; only with --otlp";
    CONNECTIONS: Gauge "connections" { ("state", "as the agent keeps it") } most(Host(2))
        "Connections that the agent remembers";
    PROCESS_FAMILY_SOCKETS: Gauge "process_family_sockets" { COMM } most(Host(NAMES + 1))
        "TCP sockets that a server and its children hold, at the walk after the scrape before";
    PROCESS_FAMILY_CONNECTIONS: Gauge "process_family_connections" { COMM } most(Host(NAMES + 1))
        "Connections among them";
    PROCESS_FAMILY_CHILDREN: Gauge "process_family_children" { COMM } most(Host(NAMES + 1))
        "Forked processes that hold any of them";
    #[Bytes]
    PROCESS_FAMILY_MEMORY: Gauge "process_family_memory" { COMM } most(Host(NAMES + 1))
        "Kernel memory of the sockets";
    WALKS: Counter "walks" {} most(Host(1))
        "Walks over the open files of all processes, which tell who holds a socket";
    #[Seconds]
    WALK_TIME: Counter "walk" {} most(Host(1))
        "Time that they took";
    DIAGNOSES: Counter "diagnoses" { ("cause", "a cause of docs/causes") } most(EachPlace(Cause::WORDS.len()))
        "Connections that died, and connection attempts that failed, by cause; two ends on this host count once";
    STALLED: Gauge "stalled_connections" { ("stage", "`1` to `15`, `16+`: consecutive timeouts or probes without an answer") } most(Host(STAGE_WORDS.len()))
        "Living connections whose peer does not answer";
    #[Seconds]
    STALL_DURATION: Histogram "stall_duration" {} most(Host(15))
        "Time from a stall's first timeout to its recovery or the connection's death";
    #[Seconds]
    TIMEOUT_RTO: Histogram "timeout_rto" {} most(Host(13))
        "Retransmission timeouts that burnt, SYNs included";
    RECOVERY_STAGE: Histogram "recovery_stage" {} most(Host(14))
        "Consecutive timeouts that stalls had when the peer answered at last: what tcp_retries2 must allow";
    #[Seconds]
    DEADLINE_ERROR: Histogram "deadline_error" { ("side", "`early` or `late`: the death came before or after the middle") } most(Host(24))
        "Distance of deaths by a timer from the middle of the interval that was predicted";
    PROBE_UP: Gauge "probe_up" { ("probe", "the signal that it gives") } most(Host(PROGRAMS))
        "1 if the probe is attached";
    NAMES_UP: Gauge "names_up" { ("source", "`cgroups`: ids of pods and containers, units; `kubernetes`: names of pods; only those in use") } most(Host(2))
        "1 while the source of names answers";
    POD_OWNER: Gauge "pod_owner" {
        ("namespace", "of the pod"),
        ("pod", "its name"),
        ("owner_kind", "`Deployment`, `StatefulSet`, `DaemonSet`, `CronJob`, ..."),
        ("owner_name", "its name")
    } most(Host(PODS)) "1 for each pod of the node that belongs to a workload";
    #[Seconds]
    EBPF_RUN: Counter "ebpf_run" { PROGRAM } most(Host(PROGRAMS))
        "Time spent in the program; only with kernel.bpf_stats_enabled";
    EBPF_RUNS: Counter "ebpf_runs" { PROGRAM } most(Host(PROGRAMS))
        "Times that the program ran; only with kernel.bpf_stats_enabled";
    EBPF_MISSES: Counter "ebpf_misses" { PROGRAM } most(Host(PROGRAMS))
        "Events not seen because the program was running on that processor already, interrupted or preempted";
    BUILD: Info "build" { ("version", "of tcpwhy"), ("kernel", "`uname -r`") } most(Host(1))
        "What runs";
}
