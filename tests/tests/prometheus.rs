//! What the agent serves, read by those who will read it: Prometheus itself, promtool, and the strict parser
//! of OpenMetrics.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, process};

use serde_json::Value;
use tests::agent::command;
use tests::agent::{Agent, agent, http};
use tests::link::{Family, Pair};
use tests::scenes::reset;
use tests::wait;

/// Reads the page strictly (RFC-like rules of the reference implementation) and prints how many families it has.
const STRICT: &str = "import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
families = list(parse(sys.stdin.read()))
print(len(families))";

fn page(accept: &str) -> String {
    let stream = TcpStream::connect(agent().metrics_address()).expect("connect to the metrics address");
    let mut text = String::new();
    http::get_as(stream, "/metrics", accept).read_to_string(&mut text).expect("read the metrics");
    text
}

/// Feeds `input` to a program; returns what it printed and fails with what it complained about.
fn pass(program: &mut Command, input: &str) -> String {
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program.spawn().unwrap_or_else(|error| panic!("start {program:?}: {error}"));
    let mut stdin = child.stdin.take().expect("its standard input");
    stdin.write_all(input.as_bytes()).expect("feed it");
    drop(stdin);
    let output = child.wait_with_output().expect("wait for it");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program:?}: {complaint}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_strict_parser_takes_open_metrics() {
    let python = env::var_os("TCPWHY_PYTHON").expect("TCPWHY_PYTHON (cargo xtask test sets it)");
    // A death, for its exemplar.
    let _ = agent();
    reset::abort_on_close(&Pair::new(), Family::V4, 100);
    let text = wait::some("an exemplar", || {
        Some(page("application/openmetrics-text; version=1.0.0"))
            .filter(|text| text.contains(" # {connection=\""))
    });
    let families = pass(Command::new(python).args(["-c", STRICT]), &text);
    assert!(families.trim().parse::<u32>().expect("a number") > 15, "{families} families");
}

#[test]
fn promtool_takes_the_classic_format() {
    let text = page("text/plain; version=0.0.4");
    pass(Command::new("promtool").args(["check", "metrics"]), &text);
}

/// As the chart installs them.
const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/helm/tcpwhy/files/rules.yaml");

/// A Prometheus of the test's own, with the rules; it and its data end with the test.
struct Prometheus {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Prometheus {
    fn start(target: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("tcpwhy-prometheus-{}-{number}", process::id()));
        fs::create_dir_all(&folder).expect("make a folder");
        let config = folder.join("prometheus.yml");
        let job = format!("[{{job_name: tcpwhy, static_configs: [{{targets: ['{target}']}}]}}]");
        let global = "{scrape_interval: 1s, evaluation_interval: 1s}";
        let text = format!("{{global: {global}, rule_files: ['{RULES}'], scrape_configs: {job}}}");
        fs::write(&config, text).expect("write its configuration");
        let port = free_port();
        let child = Self::command(&folder, &config, port).spawn().expect("start prometheus");
        Self { child, port, folder }
    }

    fn command(folder: &Path, config: &Path, port: u16) -> Command {
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command.arg("--enable-feature=exemplar-storage");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Whether the instant query has a value of at least 1; `promtool` prints `NAME{LABELS} => VALUE @[TIME]`.
    fn holds(&self, query: &str) -> bool {
        let server = format!("http://127.0.0.1:{}", self.port);
        let output = Command::new("promtool").args(["query", "instant", &server, query]).output();
        let output = output.expect("run promtool");
        let text = String::from_utf8_lossy(&output.stdout);
        let value = text.split_once(" => ").and_then(|(_, rest)| rest.split(' ').next()?.parse::<f64>().ok());
        value.is_some_and(|value| value >= 1.0)
    }
}

impl Prometheus {
    /// The exemplars that it has stored of a series.
    fn exemplars(&self, series: &str) -> Vec<Value> {
        // It wants a span, and takes the longest there is.
        let span = "start=-9223309901257974&end=9223309901257974";
        let query = series.replace('{', "%7B").replace('}', "%7D").replace('"', "%22").replace('=', "%3D");
        let Ok(stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return Vec::new() };
        let mut text = String::new();
        let path = format!("/api/v1/query_exemplars?query={query}&{span}");
        http::get(stream, &path).read_to_string(&mut text).expect("read an answer");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        let series = answer["data"].as_array().cloned().unwrap_or_default();
        series.iter().flat_map(|one| one["exemplars"].as_array().cloned().unwrap_or_default()).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself; what is left of its folder is in the way of nobody.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("find a free port");
    listener.local_addr().expect("its address").port()
}

#[test]
fn prometheus_scrapes_the_agent() {
    // The agent first: what happens before it starts it cannot count.
    let target = agent().metrics_address().to_string();
    let pair = Pair::new();
    reset::no_socket(&pair, Family::V4);
    let prometheus = Prometheus::start(&target);
    wait::until("prometheus to find the agent up", || prometheus.holds("up"));
    let resets = "tcpwhy_resets_sent_total{reason=\"NO_SOCKET\"}";
    wait::until("prometheus to store a reset", || prometheus.holds(resets));
}

#[test]
fn from_a_counter_in_prometheus_it_is_one_step_to_the_connection() {
    let agent = agent();
    let prometheus = Prometheus::start(&agent.metrics_address().to_string());
    wait::until("prometheus to find the agent up", || prometheus.holds("up"));
    reset::abort_on_close(&Pair::new(), Family::V4, 100);
    // Whose the exemplar is others decide too: it is that of the last one before a scrape, on the whole host.
    for (series, words) in [
        (
            "tcpwhy_diagnoses_total{cause=\"closed_with_unread_data\"}",
            "\"cause\":\"closed_with_unread_data\"",
        ),
        ("tcpwhy_resets_sent_total", "\"event\":\"reset_sent\""),
        ("tcpwhy_resets_received_total", "\"event\":\"reset_received\""),
    ] {
        wait::until(&format!("an exemplar of {series}, whose connection is known"), || {
            prometheus.exemplars(series).iter().any(|exemplar| {
                let labels = &exemplar["labels"];
                let story = why(agent, labels["connection"].as_str().expect("a name"));
                let fits = |story: &Value| labels.get("shared_id") == story.get("shared_id");
                story.is_some_and(|story| fits(&story) && story.to_string().contains(words))
            })
        });
    }
}

#[test]
fn an_alert_fires_in_a_storm() {
    /// The rule wants more than 50 in 10 minutes.
    const STORM: u64 = 500;
    let prometheus = Prometheus::start(&agent().metrics_address().to_string());
    // What rises before it is looked at twice did not rise.
    let refused = "tcpwhy_diagnoses_total{cause=\"connection_refused\"}";
    wait::until("two scrapes", || prometheus.holds(&format!("max(count_over_time({refused}[5m])) > 1")));
    reset::burst(&Pair::new(), Family::V4, STORM);
    let alert = "ALERTS{alertname=\"TcpwhyCauseConnectionRefused\",alertstate=\"firing\"}";
    wait::until("the alert", || prometheus.holds(alert));
    let recorded = "max(place:tcpwhy_diagnoses:increase10m{cause=\"connection_refused\"})";
    wait::until("the recorded rise", || prometheus.holds(&format!("{recorded} > {}", STORM / 2)));
}

/// What `tcpwhy why` says of the connection with this name, if it is remembered.
fn why(agent: &Agent, id: &str) -> Option<Value> {
    let socket = agent.socket().to_str().expect("a path");
    let output = command::run(&["why", "-o", "json", "--socket", socket, "--id", id]);
    output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
}
