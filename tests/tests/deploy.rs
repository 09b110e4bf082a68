//! What an operator installs: chart, manifests, rules and dashboards, checked by the tools that will read them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use agent_model::drops::NOISE;
use agent_model::golden;
use tests::dashboards::{DASHBOARDS, Dashboard};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

const RULES: &str = "deploy/helm/tcpwhy/files/rules.yaml";
const RULE_TESTS: &str = "deploy/prometheus/tests.yaml";
const CHART: &str = "deploy/helm/tcpwhy";
const MANIFEST: &str = "deploy/kustomize/tcpwhy.yaml";

/// Runs a tool in the project's folder; what it printed.
fn run(tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool).args(arguments).current_dir(root()).output();
    let output = output.unwrap_or_else(|error| panic!("run {tool}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{tool} {arguments:?}: {said}{}",
        String::from_utf8_lossy(&output.stdout)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// Names like `tcpwhy_x` and `place:tcpwhy_x:y` in an expression.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words.filter(|word| word.contains("tcpwhy_")).collect()
}

/// Metrics of the reference, with what a histogram adds, and recorded series.
fn known() -> BTreeSet<String> {
    let reference = read("docs/metrics.md");
    let rows = reference.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let mut known: BTreeSet<String> = rows.map(|(name, _)| name.to_owned()).collect();
    let parts = ["_bucket", "_sum", "_count"];
    let histograms: Vec<_> =
        known.iter().flat_map(|name| parts.map(|part| format!("{name}{part}"))).collect();
    known.extend(histograms);
    let rules = read(RULES);
    known.extend(
        rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).map(ToOwned::to_owned),
    );
    known
}

/// Each cause has a page, as a test of the agent asks for.
fn causes() -> Vec<String> {
    let pages = fs::read_dir(root().join("docs/causes")).expect("list the causes' pages").flatten();
    let stem = |page: fs::DirEntry| Some(page.path().file_stem()?.to_str()?.to_owned());
    pages.filter_map(stem).collect()
}

fn alerts() -> Vec<(String, String)> {
    let rules = read(RULES);
    let parts = rules.split("- alert: ").skip(1);
    parts
        .map(|part| {
            let (name, rest) = part.split_once('\n').expect("more than a name");
            let runbook = rest.lines().find_map(|line| line.trim().strip_prefix("runbook: "));
            (name.to_owned(), runbook.unwrap_or_else(|| panic!("{name} has no runbook")).to_owned())
        })
        .collect()
}

#[test]
fn no_rule_and_no_panel_names_a_metric_that_does_not_exist() {
    let (known, rules) = (known(), read(RULES));
    let panels = DASHBOARDS.iter().flat_map(Dashboard::expressions);
    let code = panels.fold(rules, |code, panel| code + "\n" + panel);
    let named = metrics(&code);
    assert!(named.len() > 15, "{named:?}");
    let unknown: Vec<_> = named.iter().filter(|name| !known.contains(**name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn every_cause_has_an_alert_and_every_alert_a_runbook_and_tests() {
    let (rules, tested, alerts) = (read(RULES), read(RULE_TESTS), alerts());
    let causes: Vec<_> = causes().into_iter().filter(|cause| cause != "README").collect();
    assert!(causes.len() > 20, "{causes:?}");
    for cause in causes {
        assert!(rules.contains(&format!("increase10m{{cause=\"{cause}\"}}")), "{cause} has no alert");
    }
    for (alert, runbook) in alerts {
        assert!(root().join(&runbook).exists(), "{alert}: there is no {runbook}");
        let case = tested.split("  - name: ").find(|case| case.starts_with(&format!("{alert}\n")));
        let case = case.unwrap_or_else(|| panic!("{alert} has no tests"));
        assert!(case.contains("exp_labels"), "{alert}: no test that it fires");
        assert_eq!(case.matches("exp_alerts: []").count(), 2, "{alert}: quiet before, and resolved");
    }
}

/// The reasons that the rules leave out are those that no diagnosis is made of.
#[test]
fn the_rules_know_what_is_no_trouble() {
    let rules = read(RULES);
    let (_, rest) =
        rules.split_once("tcpwhy_packets_dropped_total{reason!~\"").expect("the reasons left out");
    let left_out: Vec<_> = rest.split_once('"').expect("their end").0.split('|').collect();
    let noise: Vec<_> = NOISE.iter().map(|(reason, _)| *reason).collect();
    assert_eq!(left_out, noise);
}

#[test]
fn promtool_takes_the_rules_and_their_tests_pass() {
    run("promtool", &["check", "rules", RULES]);
    run("promtool", &["test", "rules", RULE_TESTS]);
}

#[test]
fn the_dashboards_are_written_from_the_table() {
    for dashboard in DASHBOARDS {
        golden::check(&format!("{CHART}/files/{}.json", dashboard.uid), &dashboard.to_json());
    }
}

/// What the security of the DaemonSet rests on, in the manifest that is applied.
#[test]
fn the_agent_has_no_more_rights_than_it_needs() {
    let manifest = read(MANIFEST);
    for line in [
        "privileged: false",
        "allowPrivilegeEscalation: false",
        "readOnlyRootFilesystem: true",
        "drop: [ALL]",
        "add: [\"BPF\",\"PERFMON\"]",
        "type: RuntimeDefault",
        "resources: [pods]",
        "verbs: [list, watch]",
    ] {
        assert_eq!(manifest.matches(line).count(), 1, "{line}");
    }
    assert_eq!(manifest.matches("hostPath:").count(), 1);
    assert!(!manifest.contains("hostNetwork"));
}

#[test]
fn chart_and_manifest_agree() {
    let helm = helm();
    run(&helm, &["lint", "--strict", CHART]);
    let rendered = run(&helm, &["template", "tcpwhy", CHART, "--namespace", "tcpwhy"]);
    golden::check(MANIFEST, &rendered);
}

#[test]
fn the_chart_takes_all_its_values_and_refuses_others() {
    let helm = helm();
    let on = ["podMonitor", "serviceMonitor", "prometheusRule", "networkPolicy", "dashboards"];
    let on = on.map(|value| format!("{value}.enabled=true")).join(",");
    let all = run(&helm, &["template", "t", CHART, "--set", &on, "--set", "prometheusRule.runbooks=base/"]);
    for kind in ["PodMonitor", "ServiceMonitor", "PrometheusRule", "NetworkPolicy", "ConfigMap"] {
        assert!(all.contains(&format!("\nkind: {kind}\n")), "no {kind}");
    }
    assert!(all.contains("runbook: base/docs/causes/peer_reset.md"));
    for wrong in ["capabilities={PERFMON}", "port=0", "hostPid=true", "image.digest=sha256:1"] {
        let output =
            Command::new(&helm).args(["template", "t", CHART, "--set", wrong]).current_dir(root()).output();
        assert!(!output.expect("run helm").status.success(), "{wrong} was taken");
    }
}

/// Named by `TCPWHY_HELM`, or in the path.
fn helm() -> String {
    env::var("TCPWHY_HELM").unwrap_or_else(|_| "helm".to_owned())
}
