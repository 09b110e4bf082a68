//! The Grafana dashboards, from one table: `deploy/helm/tcpwhy/files/*.json` are written from here.

use serde_json::{Value, json};

/// A dashboard.
#[derive(Debug)]
pub struct Dashboard {
    /// Name of its file, and its identity in Grafana.
    pub uid: &'static str,
    title: &'static str,
    /// Variables to choose by: label and the metric that has it.
    variables: &'static [(&'static str, &'static str)],
    panels: &'static [Panel],
}

/// A panel: a graph of one expression.
#[derive(Debug)]
struct Panel {
    title: &'static str,
    about: &'static str,
    unit: &'static str,
    expression: &'static str,
    legend: &'static str,
}

const fn panel(
    title: &'static str,
    about: &'static str,
    unit: &'static str,
    expression: &'static str,
    legend: &'static str,
) -> Panel {
    Panel { title, about, unit, expression, legend }
}

const PER_SECOND: &str = "ops";

/// All of them.
pub const DASHBOARDS: &[Dashboard] = &[
    Dashboard {
        uid: "tcpwhy-cluster",
        title: "tcpwhy: cluster",
        variables: &[],
        panels: &[
            panel(
                "Deaths by cause",
                "Connections that died, and attempts that failed",
                PER_SECOND,
                "sum by (cause) (rate(tcpwhy_diagnoses_total[$__rate_interval])) > 0",
                "{{cause}}",
            ),
            panel(
                "Deaths by workload",
                "Of the last ten minutes",
                "short",
                "topk(10, sum by (namespace, owner_kind, owner_name) (workload:tcpwhy_diagnoses:increase10m))",
                "{{namespace}} {{owner_kind}}/{{owner_name}}",
            ),
            panel(
                "Connections that get no answer",
                "By consecutive timeouts",
                "short",
                "sum by (stage) (tcpwhy_stalled_connections) > 0",
                "stage {{stage}}",
            ),
            panel(
                "Segments sent again, by node",
                "",
                PER_SECOND,
                "topk(10, instance:tcpwhy_retransmitted_segments:rate5m)",
                "{{instance}}",
            ),
            panel(
                "Resets sent, by reason",
                "",
                PER_SECOND,
                "sum by (reason) (instance:tcpwhy_resets_sent:rate5m) > 0",
                "{{reason}}",
            ),
            panel(
                "Packets of TCP dropped on their node, by reason",
                "Without what is part of how TCP works",
                PER_SECOND,
                "sum by (reason) (instance:tcpwhy_packets_dropped:rate5m) > 0",
                "{{reason}}",
            ),
            panel(
                "Packets of TCP dropped, by node",
                "Without what is part of how TCP works",
                PER_SECOND,
                "topk(10, sum by (instance) (instance:tcpwhy_packets_dropped:rate5m))",
                "{{instance}}",
            ),
            panel(
                "TCP's memory against its limit",
                "`high` of tcp_mem",
                "percentunit",
                "max by (instance) (tcpwhy_tcp_memory_bytes) / max by (instance) (tcpwhy_tcp_memory_limit_bytes)",
                "{{instance}}",
            ),
            panel(
                "Agents that lose records",
                "Counters stay exact, lines are missing",
                PER_SECOND,
                "sum by (instance, stage) (rate(tcpwhy_records_lost_total[$__rate_interval])) > 0",
                "{{instance}} {{stage}}",
            ),
            panel(
                "Probes that are not attached",
                "",
                "short",
                "tcpwhy_probe_up == 0",
                "{{instance}} {{probe}}",
            ),
        ],
    },
    Dashboard {
        uid: "tcpwhy-node",
        title: "tcpwhy: node",
        variables: &[("instance", "tcpwhy_build_info")],
        panels: &[
            panel(
                "Deaths by cause",
                "",
                PER_SECOND,
                "sum by (cause) (rate(tcpwhy_diagnoses_total{instance=~\"$instance\"}[$__rate_interval])) > 0",
                "{{cause}}",
            ),
            panel(
                "Packets sent again, by kind",
                "",
                PER_SECOND,
                "sum by (kind) (rate(tcpwhy_retransmits_total{instance=~\"$instance\"}[$__rate_interval]))",
                "{{kind}}",
            ),
            panel(
                "Resets sent, by reason",
                "",
                PER_SECOND,
                "sum by (reason) (rate(tcpwhy_resets_sent_total{instance=~\"$instance\"}[$__rate_interval])) > 0",
                "{{reason}}",
            ),
            panel(
                "Resets received, by state",
                "",
                PER_SECOND,
                "sum by (state) (rate(tcpwhy_resets_received_total{instance=~\"$instance\"}[$__rate_interval])) > 0",
                "{{state}}",
            ),
            panel(
                "Packets of TCP dropped here, by reason",
                "Without what is part of how TCP works",
                PER_SECOND,
                "sum by (reason) (instance:tcpwhy_packets_dropped:rate5m{instance=~\"$instance\"}) > 0",
                "{{reason}}",
            ),
            panel(
                "Timeouts that burnt",
                "90th percentile",
                "s",
                "histogram_quantile(0.9, sum by (le) (rate(tcpwhy_timeout_rto_seconds_bucket{instance=~\"$instance\"}[$__rate_interval])))",
                "RTO",
            ),
            panel(
                "How long stalls last",
                "90th percentile",
                "s",
                "histogram_quantile(0.9, sum by (le) (rate(tcpwhy_stall_duration_seconds_bucket{instance=~\"$instance\"}[$__rate_interval])))",
                "stall",
            ),
            panel(
                "Memory refused to sockets",
                "By tcp_mem or a cgroup's limit",
                PER_SECOND,
                "sum by (direction) (rate(tcpwhy_buf_limit_exceeded_total{instance=~\"$instance\"}[$__rate_interval]))",
                "{{direction}}",
            ),
            panel(
                "Connections remembered",
                "",
                "short",
                "sum by (state) (tcpwhy_connections{instance=~\"$instance\"})",
                "{{state}}",
            ),
            panel(
                "Cost of the programs",
                "Only with kernel.bpf_stats_enabled",
                "percentunit",
                "sum by (program) (rate(tcpwhy_ebpf_run_seconds_total{instance=~\"$instance\"}[$__rate_interval]))",
                "{{program}}",
            ),
        ],
    },
    Dashboard {
        uid: "tcpwhy-workload",
        title: "tcpwhy: workload",
        variables: &[("namespace", "tcpwhy_pod_owner"), ("owner_name", "tcpwhy_pod_owner")],
        panels: &[
            panel(
                "Deaths by cause",
                "Of the last ten minutes",
                "short",
                "sum by (owner_name, cause) (workload:tcpwhy_diagnoses:increase10m{namespace=~\"$namespace\", owner_name=~\"$owner_name\"}) > 0",
                "{{owner_name}} {{cause}}",
            ),
            panel(
                "Packets sent again, by pod",
                "",
                PER_SECOND,
                "sum by (pod, kind) (rate(tcpwhy_retransmits_total{namespace=~\"$namespace\"}[$__rate_interval]) * on (namespace, pod) group_left () max by (namespace, pod) (tcpwhy_pod_owner{owner_name=~\"$owner_name\"})) > 0",
                "{{pod}} {{kind}}",
            ),
            panel(
                "Resets sent, by pod",
                "",
                PER_SECOND,
                "sum by (pod, reason) (rate(tcpwhy_resets_sent_total{namespace=~\"$namespace\"}[$__rate_interval]) * on (namespace, pod) group_left () max by (namespace, pod) (tcpwhy_pod_owner{owner_name=~\"$owner_name\"})) > 0",
                "{{pod}} {{reason}}",
            ),
            panel(
                "Resets received, by pod",
                "",
                PER_SECOND,
                "sum by (pod, state) (rate(tcpwhy_resets_received_total{namespace=~\"$namespace\"}[$__rate_interval]) * on (namespace, pod) group_left () max by (namespace, pod) (tcpwhy_pod_owner{owner_name=~\"$owner_name\"})) > 0",
                "{{pod}} {{state}}",
            ),
            panel(
                "Packets of TCP dropped on their node, by pod",
                "Each reason, also those that are part of how TCP works",
                PER_SECOND,
                "sum by (pod, reason) (rate(tcpwhy_packets_dropped_total{namespace=~\"$namespace\"}[$__rate_interval]) * on (namespace, pod) group_left () max by (namespace, pod) (tcpwhy_pod_owner{owner_name=~\"$owner_name\"})) > 0",
                "{{pod}} {{reason}}",
            ),
        ],
    },
];

impl Dashboard {
    /// Its expressions.
    pub fn expressions(&self) -> impl Iterator<Item = &'static str> {
        self.panels.iter().map(|panel| panel.expression)
    }

    /// What Grafana imports.
    pub fn to_json(&self) -> String {
        let panels = self.panels.iter().enumerate().map(|(at, panel)| panel.to_json(at));
        let source =
            json!({"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"});
        let variables = self.variables.iter().map(|(label, metric)| variable(label, metric));
        let value = json!({
            "uid": self.uid, "title": self.title, "tags": ["tcpwhy"], "schemaVersion": 39, "editable": true,
            "time": {"from": "now-3h", "to": "now"}, "refresh": "1m",
            "templating": {"list": std::iter::once(source).chain(variables).collect::<Vec<_>>()},
            "panels": panels.collect::<Vec<_>>(),
        });
        serde_json::to_string_pretty(&value).expect("only string keys") + "\n"
    }
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn variable(label: &str, metric: &str) -> Value {
    json!({
        "name": label, "type": "query", "datasource": source(), "refresh": 2, "multi": true, "includeAll": true,
        "allValue": ".*", "current": {"text": "All", "value": "$__all"},
        "query": {"query": format!("label_values({metric}, {label})"), "refId": label},
    })
}

impl Panel {
    /// Two in a row.
    fn to_json(&self, at: usize) -> Value {
        let Self { title, about, unit, expression, legend } = self;
        json!({
            "id": at + 1, "type": "timeseries", "title": title, "description": about, "datasource": source(),
            "gridPos": {"h": 8, "w": 12, "x": 12 * (at % 2), "y": 8 * (at / 2)},
            "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
            "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
            "targets": [{"refId": "A", "datasource": source(), "expr": expression, "legendFormat": legend}],
        })
    }
}
