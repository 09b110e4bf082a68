use std::fs;
use std::path::PathBuf;

use clap::Parser;
use serde_json::Value as Json;

use super::report::TimeoutsReport;
use super::settings::{Host, Settings};
use super::{Rtos, Time, Timeouts, json, text};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    timeouts: Timeouts,
}

/// A machine with HZ=250 and only these sysctls.
struct Machine(PathBuf);

impl Machine {
    fn new(name: &str, sysctls: &[(&str, u32)]) -> Self {
        let dir = std::env::temp_dir().join(format!("tcpwhy-timeouts-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        for (name, value) in sysctls {
            fs::write(dir.join(name), format!("{value}\n")).expect("a file");
        }
        Self(dir)
    }

    fn report(&self, args: &str) -> TimeoutsReport {
        let args = ["timeouts"].into_iter().chain(args.split_whitespace());
        let args = Cli::try_parse_from(args).expect("valid arguments").timeouts;
        TimeoutsReport::new(&args, Settings::new(&args, &Host::at(self.0.clone(), Some(250))))
    }

    fn text(&self, args: &str) -> String {
        text::ScheduleText(&self.report(args)).to_string()
    }

    fn json(&self, args: &str) -> Json {
        json::object(&self.report(args))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("its own directory");
    }
}

fn is_refused(args: &[&str]) -> bool {
    Cli::try_parse_from(["timeouts"].iter().chain(args)).is_err()
}

#[test]
fn fifteen_retries_are_sixteen_steps_and_924_6_seconds() {
    let page = Machine::new("fifteen", &[]).text("--retries2 15");
    let steps: Vec<_> =
        page.lines().filter(|line| line.ends_with(" s") && line.starts_with("    ")).collect();
    assert_eq!(steps.len(), 32, "the model's and the connection's:\n{page}");
    assert_eq!(steps[15], "    16       120 s      924.6 s");
    assert_eq!(steps[31], "    16       120 s      928.7 s");
    assert!(page.contains("T(15) = 924.6 s is a lower bound"));
    assert!(page.contains("It sends 15 retransmissions and dies 928.7 s after the first transmission"));
}

#[test]
fn each_value_says_where_it_comes_from() {
    let machine = Machine::new("source", &[("tcp_retries2", 8), ("tcp_rto_min_us", 5000)]);
    let page = machine.text("--rto-max 10s");
    let source = |name: &str| page.lines().find(|line| line.contains(name)).expect("its line");
    assert!(source("tcp_retries2").ends_with("8   from this host"));
    assert!(source("tcp_rto_max_ms").ends_with("10 s   given"));
    assert!(source("  RTO").ends_with("8 ms   from this host"), "{page}");
    let json = machine.json("--rto-max 10s");
    assert_eq!(json["settings"]["tcp_retries2"], serde_json::json!({ "value": 8, "source": "host" }));
    assert_eq!(json["settings"]["tcp_syn_retries"]["source"], "default");
    assert_eq!(json["data"]["model_ms"], 42_600);
}

#[test]
fn backwards_names_the_setting_and_the_rfc() {
    let machine = Machine::new("within", &[]);
    let page = machine.text("--within 30s");
    assert!(page.contains("Set net.ipv4.tcp_retries2 = 5:"), "{page}");
    assert!(
        page.contains("RFC 1122 §4.2.3.5 asks for: at least 100 s (R2), so\ntcp_retries2 of at least 8.")
    );
    assert!(machine.text("--within 30s --rto 204ms").contains("tcp_retries2 = 6:"));
    assert!(!machine.text("--within 300s").contains("RFC"));
    assert!(machine.text("--within 100ms").contains("No tcp_retries2 is short enough"));
    let json = machine.json("--within 30s --rto-max 10s");
    assert_eq!((&json["within"]["retries2"], &json["within"]["rfc1122_retries2"]), (&5.into(), &14.into()));
    assert_eq!(json["within"]["below_rfc1122"], true);
}

#[test]
fn every_subject_has_its_part() {
    let json = Machine::new("parts", &[]).json("--retries2 3 --syn-retries 2 --synack-retries 5 --keepalive");
    assert_eq!((&json["version"], &json["data"]["sent"]), (&1.into(), &4.into()));
    assert_eq!(
        (&json["syn"]["rule"], &json["syn"]["gives_up_ms"]),
        (&"tcp_syn_retries".into(), &7000.into())
    );
    assert_eq!(json["synack"]["gives_up_ms"], 63_000);
    assert_eq!(json["keepalive"]["gives_up_ms"], 7_875_000);
    let orphan = Machine::new("orphan", &[]).json("--orphan");
    assert_eq!(
        (&orphan["data"]["rule"], &orphan["data"]["model_ms"]),
        (&"tcp_orphan_retries".into(), &102_200.into())
    );
}

#[test]
fn pages_fit_eighty_columns() {
    let machine = Machine::new("columns", &[]);
    let pages =
        ["", "--user-timeout 30s --rto 201ms..1s", "--orphan", "--syn-linear 4", "--synack-retries 5"];
    for args in pages.into_iter().chain([
        "--keepalive --user-timeout 20s",
        "--within 30s",
        "--plot",
        "--syn-retries 6 --plot",
    ]) {
        let page = machine.text(args);
        assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
    }
}

#[test]
fn the_curve_doubles_and_ends_at_the_right() {
    let page = Machine::new("plot", &[]).text("--retries2 15 --rto 201ms --plot");
    let curve: Vec<_> = page.lines().filter(|line| line.ends_with(['*', 'X'])).collect();
    assert_eq!(curve.len(), 16, "{page}");
    let ends: Vec<_> = curve.iter().map(|line| line.len()).collect();
    assert!(ends.is_sorted() && ends[15] > 70 && curve[15].ends_with('X'), "{page}");
    assert!(ends[9] - ends[8] > 2 * (ends[7] - ends[6]), "{page}");
}

#[test]
fn times_and_ranges_are_read_and_written() {
    for (text, shown) in [("30s", "30 s"), ("201ms", "201 ms"), ("1m30s", "90 s"), ("1632ms", "1.632 s")] {
        assert_eq!(text.parse::<Time>().expect("a time").to_string(), shown);
    }
    for text in ["", "5", "-1s", "0s", "5x", "200y"] {
        assert!(text.parse::<Time>().is_err(), "{text}");
    }
    assert!("201ms..1s".parse::<Rtos>().is_ok());
    assert!("1s..201ms".parse::<Rtos>().is_err() && "1s..".parse::<Rtos>().is_err());
}

#[test]
fn nonsense_is_refused() {
    assert!(is_refused(&["--within", "30s", "--retries2", "5"]));
    assert!(is_refused(&["--orphan-retries", "5"]) && is_refused(&["--keepalive-time", "5s"]));
    assert!(is_refused(&["--retries2", "256"]) && is_refused(&["--hz", "0"]));
}
