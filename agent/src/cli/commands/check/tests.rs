//! Judgement of surroundings and programs that are given.

use std::collections::BTreeSet;

use agent_model::counters::ProgramStats;
use agent_source::kernel::probes::{PROBES, ProbeState, ProbeStatus};
use agent_source::kernel::{LoadError, Loss, Survey};
use serde_json::Value;

use super::place::{Cgroups, Runtime, Surrounding};
use super::privileges::Privileges;
use super::report::{CheckReport, Level, State, Verdict};
use super::surroundings::{KernelFacts, Surroundings};
use super::text;
use crate::schema::{file, json_line};

const SCHEMA: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schema.md"));

/// A host on which everything works.
fn host() -> Surroundings {
    Surroundings {
        kernel: KernelFacts {
            release: "6.18.2".to_owned(),
            arch: "x86_64",
            hz: Some(250),
            btf_bytes: Some(5 << 20),
            jit: Some(true),
            run_times: Some(true),
            lockdown: Some("none".to_owned()),
        },
        privileges: Privileges {
            cap_bpf: true,
            cap_perfmon: true,
            cap_syslog: true,
            initial_user_namespace: true,
            seccomp: false,
            symbols: true,
            kptr_restrict: Some(1),
        },
        place: Surrounding { container: None, pod: false, host_pids: true, cgroups: Cgroups::V2 },
    }
}

/// A pod that may do nothing.
fn pod() -> Surroundings {
    Surroundings {
        privileges: Privileges { seccomp: true, initial_user_namespace: true, ..Privileges::default() },
        place: Surrounding {
            container: Some(Runtime::Containerd),
            pod: true,
            host_pids: false,
            cgroups: Cgroups::V2,
        },
        ..host()
    }
}

/// Every probe up, but `one`.
fn survey(one: &str, state: &ProbeState) -> Survey {
    let status = |probe: &'static _| ProbeStatus { probe, state: ProbeState::Up };
    let mut probes: Vec<_> = PROBES.iter().map(status).collect();
    for status in probes.iter_mut().filter(|status| status.probe.name == one) {
        status.state = state.clone();
    }
    let programs = PROBES.iter().map(|probe| ProgramStats {
        name: probe.name.into(),
        run_time: std::time::Duration::ZERO,
        runs: 0,
        misses: 0,
        instructions: 700,
    });
    Survey { probes, lost: Vec::new(), programs: programs.collect() }
}

fn all_up() -> Survey {
    survey("", &ProbeState::Up)
}

fn state_of(report: &CheckReport, probe: &str) -> State {
    report.probes.iter().find(|one| one.name == probe).unwrap().state
}

#[test]
fn nothing_wrong_is_ready() {
    let report = CheckReport::new(host(), Ok(&all_up()));
    assert_eq!(report.verdict, Verdict::Ready);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn a_note_degrades_nothing() {
    let mut host = host();
    host.kernel.run_times = Some(false);
    host.kernel.jit = Some(false);
    let report = CheckReport::new(host, Ok(&all_up()));
    assert_eq!((report.verdict, report.findings.len()), (Verdict::Ready, 2));
}

#[test]
fn what_the_kernel_keeps_to_itself_degrades_the_probe() {
    let lost = vec![
        Loss { probe: Some("reset_sent"), what: "why a reset is sent" },
        Loss { probe: None, what: "cookies of sockets" },
    ];
    let report = CheckReport::new(host(), Ok(&Survey { lost, ..all_up() }));
    assert_eq!(report.verdict, Verdict::Degraded);
    assert_eq!(state_of(&report, "reset_sent"), State::Degraded);
    assert_eq!(state_of(&report, "retransmit"), State::Up);
    assert_eq!(report.findings.iter().map(|finding| finding.level).collect::<Vec<_>>(), [Level::Loss]);
}

#[test]
fn only_a_required_probe_is_fatal() {
    let optional = CheckReport::new(host(), Ok(&survey("sock_held", &ProbeState::Missing)));
    assert_eq!((optional.verdict, state_of(&optional, "sock_held")), (Verdict::Degraded, State::Missing));
    let refused = ProbeState::Refused("Invalid argument".to_owned());
    let required = CheckReport::new(host(), Ok(&survey("retransmit", &refused)));
    assert_eq!((required.verdict, state_of(&required, "retransmit")), (Verdict::Unable, State::Refused));
}

#[test]
fn missing_privileges_are_named() {
    let report = CheckReport::new(pod(), Err(&LoadError::NotPermitted));
    assert_eq!((report.verdict, report.probes.len()), (Verdict::Unable, 0));
    let advice = report.findings[0].advice.join("\n");
    assert!(advice.contains("CAP_BPF and CAP_PERFMON") && advice.contains("securityContext"), "{advice}");
    assert!(!advice.contains("audit log"), "{advice}");
}

#[test]
fn a_refusal_with_all_privileges_is_explained_by_what_is_left() {
    let advice_for = |change: fn(&mut Surroundings)| {
        let mut host = host();
        change(&mut host);
        CheckReport::new(host, Ok(&survey("retransmit", &ProbeState::NotPermitted))).findings[0]
            .advice
            .join("\n")
    };
    assert!(
        advice_for(|host| host.kernel.lockdown = Some("confidentiality".to_owned())).contains("lockdown")
    );
    assert!(advice_for(|host| host.privileges.initial_user_namespace = false).contains("user namespace"));
    assert!(advice_for(|host| host.privileges.seccomp = true).contains("seccomp"));
    assert!(advice_for(|_| ()).contains("audit log"));
}

#[test]
fn a_pod_without_the_hosts_processes_loses_holders() {
    let mut pod = Surroundings { privileges: host().privileges, ..pod() };
    pod.privileges.symbols = false;
    let report = CheckReport::new(pod, Ok(&all_up()));
    assert_eq!(report.verdict, Verdict::Degraded);
    let advice: Vec<_> = report.findings.iter().flat_map(|finding| &finding.advice).cloned().collect();
    assert!(advice.iter().any(|advice| advice.contains("hostPID: true")), "{advice:?}");
    assert!(advice.iter().any(|advice| advice.contains("CAP_SYSLOG")), "{advice:?}");
}

#[test]
fn an_old_kernel_is_named_so() {
    let report = CheckReport::new(host(), Err(&LoadError::TooOld("5.4.0".to_owned())));
    let page = text::page(&report, false);
    assert!(page.contains("fatal: watch Linux 5.4.0: it has no BPF ring buffer"), "{page}");
    assert!(page.contains("do: run a kernel of 5.10 or later"), "{page}");
}

#[test]
fn one_screen_has_every_probe() {
    let report =
        CheckReport::new(host(), Ok(&survey("sock_held", &ProbeState::Refused("no \u{1b}[2J".to_owned()))));
    let page = text::page(&report, false);
    assert!(page.starts_with("degraded: "), "{page}");
    for probe in PROBES {
        assert!(page.contains(probe.name), "{page}");
    }
    assert!(page.lines().count() <= 40 && !page.contains('\u{1b}'), "{page}");
}

fn paths(prefix: &str, value: &Value, to: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| {
            let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            paths(&path, value, to);
        }),
        Value::Array(list) => {
            to.insert(prefix.to_owned());
            list.iter().filter(|value| value.is_object()).for_each(|value| paths(prefix, value, to));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            to.insert(prefix.to_owned());
        }
    }
}

#[test]
fn the_schema_page_names_every_field() {
    let refused = survey("sock_held", &ProbeState::Refused("Invalid argument".to_owned()));
    let report = CheckReport::new(Surroundings { privileges: host().privileges, ..pod() }, Ok(&refused));
    let mut written = BTreeSet::new();
    paths("", &serde_json::from_str(&json_line(&report)).unwrap(), &mut written);
    let chapter =
        SCHEMA.split("\n# ").find(|chapter| chapter.starts_with("The report of `tcpwhy check`")).unwrap();
    let named = chapter.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let named: BTreeSet<String> = named.map(|(path, _)| path.to_owned()).collect();
    assert_eq!(named, written);
}

#[test]
fn the_schema_file_is_that_of_the_report() {
    file::check::<CheckReport>("check");
}
