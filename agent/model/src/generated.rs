//! What is listed by cause outside the code, written from the table of causes: the index of the pages, the
//! alerts, and the unit tests of the alerts.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::cause::{Alert, Cause, Kin};
use crate::golden;

#[test]
fn every_cause_has_a_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for cause in Cause::ALL {
        let page = fs::read_to_string(root.join(cause.page())).unwrap_or_default();
        assert!(page.starts_with(&format!("# `{cause}`\n")), "{} is not {cause}'s page", cause.page());
    }
    let pages = fs::read_dir(root.join("docs/causes")).unwrap();
    let mut names = pages.map(|page| page.unwrap().file_name().into_string().unwrap());
    let stray = names.find(|name| {
        name != "README.md" && name.strip_suffix(".md").is_none_or(|word| word.parse::<Cause>().is_err())
    });
    assert_eq!(stray, None, "a page in docs/causes without a cause");
}

#[test]
fn the_index_is_written_from_the_table() {
    let mut text = "| cause | in a few words |\n|---|---|\n".to_owned();
    for kin in Kin::ALL {
        let _ = writeln!(text, "| **{}** | |", kin.title());
        for cause in Cause::ALL.iter().filter(|cause| cause.row().kin == kin) {
            let _ = writeln!(text, "| [`{cause}`]({cause}.md) | {} |", cause.row().brief.trim());
        }
    }
    let listed = Cause::WORDS.iter().find(|word| !text.contains(&format!("({word}.md)")));
    assert_eq!(listed, None, "a cause under no heading: `Kin::ALL` lacks its kin");
    golden::check_part("docs/causes/README.md", "causes", &text);
}

#[test]
fn the_alerts_are_written_from_the_table() {
    let text: String = Cause::ALL.iter().map(|cause| alert(*cause)).collect();
    golden::check_part("deploy/helm/tcpwhy/files/rules.yaml", "causes", &text);
}

#[test]
fn the_tests_of_the_alerts_are_written_from_the_table() {
    let text: String = Cause::ALL.iter().map(|cause| alert_test(*cause)).collect();
    golden::check_part("deploy/prometheus/tests.yaml", "causes", &text);
}

/// `TcpwhyCausePeerReset`.
fn alert_name(cause: Cause) -> String {
    format!("TcpwhyCause{cause:?}")
}

/// Of the place that the dead connections were of.
const PLACE: &str = "{{ with $labels.pod }}pod {{ $labels.namespace }}/{{ . }}{{ else }}\
    {{ with $labels.unit }}unit {{ . }} of {{ end }}{{ $labels.instance }}{{ end }}";

fn alert(cause: Cause) -> String {
    let Alert { severity, above, summary } = cause.row().alert;
    let (name, page, severity) = (alert_name(cause), cause.page(), severity.as_str());
    format!(
        r#"      - alert: {name}
        expr: place:tcpwhy_diagnoses:increase10m{{cause="{cause}"}} > {above}
        labels:
          severity: {severity}
        annotations:
          summary: >-
            {{{{ printf "%.0f" $value }}}} {summary} in 10 minutes, {PLACE}
          runbook: {page}
"#
    )
}

/// Two places: deaths above the threshold in one, below it in the other. Quiet before, one alert, quiet after.
fn alert_test(cause: Cause) -> String {
    let Alert { severity, above, summary } = cause.row().alert;
    let (name, page, severity) = (alert_name(cause), cause.page(), severity.as_str());
    let (most, few) = (above + 20, above / 2);
    format!(
        r#"  - name: {name}
    interval: 1m
    input_series:
      - series: 'tcpwhy_diagnoses_total{{instance="node1", namespace="shop", pod="web-1", container="nginx", cause="{cause}"}}'
        values: '0x10 {most}x60'
      - series: 'tcpwhy_diagnoses_total{{instance="node2", unit="ssh.service", cause="{cause}"}}'
        values: '0x10 {few}x60'
    alert_rule_test:
      - {{eval_time: 5m, alertname: {name}, exp_alerts: []}}
      - eval_time: 15m
        alertname: {name}
        exp_alerts:
          - exp_labels: {{"instance": "node1", "namespace": "shop", "pod": "web-1", "container": "nginx", "cause": "{cause}", "severity": "{severity}"}}
            exp_annotations: {{"runbook": "{page}", "summary": "{most} {summary} in 10 minutes, pod shop/web-1"}}
      - {{eval_time: 35m, alertname: {name}, exp_alerts: []}}
"#
    )
}
