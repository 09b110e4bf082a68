//! `tcpwhy check` on the live kernel: what it says is what happens.

use std::process::{Command, Output};

use agent_source::kernel::probes::PROBES;
use serde_json::Value;
use tests::agent::program;
use tests::skip::skip;

/// `tcpwhy check` started by `wrapper`, with its report.
fn check(wrapper: &[&str]) -> (Output, Value) {
    let mut command = Command::new(wrapper.first().copied().unwrap_or("env"));
    command.args(wrapper.iter().skip(1)).arg(program()).args(["check", "--output", "json"]);
    let output = command.output().expect("start tcpwhy");
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output, report)
}

/// The levels of what was found, with the words.
fn findings<'a>(report: &'a Value, level: &str) -> Vec<&'a str> {
    let findings = report["findings"].as_array().expect("findings").iter();
    let wanted = findings.filter(|finding| finding["level"] == level);
    wanted.map(|finding| finding["what"].as_str().expect("words")).collect()
}

#[test]
fn every_probe_is_tried() {
    let (output, report) = check(&[]);
    let names: Vec<_> = PROBES.iter().map(|probe| probe.name).collect();
    let probes = report["probes"].as_array().expect("probes").clone();
    assert_eq!(probes.iter().map(|probe| probe["name"].as_str().expect("a name")).collect::<Vec<_>>(), names);
    for probe in &probes {
        let is_function = probe["hook"].as_str().expect("a hook").starts_with("fentry/");
        if is_function && probe["state"] == "not_permitted" {
            skip("every_probe_is_tried", &format!("this kernel lets nobody sit on {}", probe["hook"]));
            continue;
        }
        // Every other test on this kernel needs them all.
        assert!(["up", "degraded"].contains(&probe["state"].as_str().expect("a state")), "{probe}");
    }
    let code = match report["verdict"].as_str().expect("a verdict") {
        "ready" => 0,
        "degraded" => 1,
        verdict => panic!("{verdict}: {output:?}"),
    };
    assert_eq!(output.status.code(), Some(code));
}

#[test]
fn without_capabilities_it_says_which() {
    let (output, report) = check(&["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"]);
    assert_eq!((output.status.code(), &report["verdict"]), (Some(2), &"unable".into()));
    assert_eq!(report["privileges"]["cap_bpf"], false);
    let advice = report["findings"][0]["advice"].to_string();
    assert!(advice.contains("CAP_BPF and CAP_PERFMON"), "{report}");
}

#[test]
fn cap_bpf_alone_is_not_enough() {
    let (output, report) = check(&["setpriv", "--bounding-set", "-all,+bpf", "--inh-caps", "-all"]);
    assert_eq!((output.status.code(), &report["verdict"]), (Some(2), &"unable".into()));
    assert_eq!(
        (&report["privileges"]["cap_bpf"], &report["privileges"]["cap_perfmon"]),
        (&true.into(), &false.into())
    );
    // It got as far as the programs.
    assert!(
        report["probes"]
            .as_array()
            .is_some_and(|probes| probes.iter().all(|one| one["state"] == "not_permitted")),
        "{report}"
    );
}

#[test]
fn the_two_capabilities_are_enough() {
    let (output, report) = check(&["setpriv", "--bounding-set", "-all,+bpf,+perfmon", "--inh-caps", "-all"]);
    assert_eq!((output.status.code(), &report["verdict"]), (Some(1), &"degraded".into()), "{report}");
    assert!(findings(&report, "loss").iter().any(|loss| loss.contains("/proc/kallsyms")), "{report}");
}

#[test]
fn a_user_namespace_of_its_own_is_named() {
    let (output, report) = check(&["unshare", "--user", "--map-root-user"]);
    assert_eq!((output.status.code(), &report["verdict"]), (Some(2), &"unable".into()));
    // All capabilities, and none of them counts.
    assert_eq!(report["privileges"]["cap_bpf"], true);
    assert!(report["findings"][0]["advice"].to_string().contains("user namespace"), "{report}");
}

#[test]
fn a_pid_namespace_of_its_own_loses_holders() {
    let (output, report) = check(&["unshare", "--pid", "--fork", "--mount-proc"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(report["place"]["host_pids"], false);
    assert!(findings(&report, "loss").iter().any(|loss| loss.contains("who holds a socket")), "{report}");
}

#[test]
fn the_page_names_the_verdict_first() {
    let output = tests::agent::command::run(&["check"]);
    let page = String::from_utf8_lossy(&output.stdout).into_owned();
    let verdict = if output.status.code() == Some(0) { "ready: " } else { "degraded: " };
    assert!(page.starts_with(verdict), "{page}");
}
