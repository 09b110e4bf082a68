//! What the agent is still allowed to do once it runs, and the profile that allows it no more.

use std::fs;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::Command;

use seccompiler::{BpfProgram, TargetArch, apply_filter, compile_from_json};
use serde_json::{Value, json};
use tests::agent::event::Event;
use tests::agent::{Agent, folder, program};
use tests::link::{Family, Pair};
use tests::scenes::reset;
use tests::wait;

/// Bit of `include/uapi/linux/capability.h`.
const CAP_BPF: u64 = 1 << 39;

/// A line of `/proc/PID/task/TID/status` of every thread, by its name.
fn of_threads(agent: &Agent, line: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid())).expect("list an agent's threads");
    let texts = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok());
    texts.filter_map(|text| Some(text.lines().find_map(|it| it.strip_prefix(line))?.trim().into())).collect()
}

fn capabilities(agent: &Agent, line: &str) -> u64 {
    let sets = of_threads(agent, line);
    assert!(sets.len() >= 3, "{sets:?}");
    sets.iter().map(|set| u64::from_str_radix(set, 16).expect("a set")).fold(0, |all, set| all | set)
}

/// One that the agent reports.
fn a_reset(agent: &Agent) -> Event {
    let pair = Pair::new();
    let tail = agent.tail(&pair.server);
    let reset = reset::abort_on_close(&pair, Family::V4, 10);
    tail.wait_for("the reset", |event| event.is("reset_sent", reset.sender))
}

/// Walks over open files, `/metrics` and names of functions, which take rights to open, go on without.
fn assert_works(agent: &Agent) {
    let event = a_reset(agent);
    assert!(
        event.find("/reset/stack").is_some_and(|stack| stack.to_string().contains("tcp_close")),
        "{event:?}"
    );
    assert!(agent.query(&format!("/v1/why?netns={}", event.number("/netns"))).contains("closed_with_unread"));
    assert!(agent.metrics().count("tcpwhy_walks_total", &[]) > 0);
}

#[test]
fn no_thread_has_rights_once_it_is_attached() {
    let agent = Agent::start("rights", &[]);
    // The thread that opened ends with its work.
    wait::until("rights to be given up", || capabilities(&agent, "CapPrm:") & !CAP_BPF == 0);
    assert_eq!(capabilities(&agent, "CapEff:") & !CAP_BPF, 0);
    assert_eq!(capabilities(&agent, "CapInh:") | capabilities(&agent, "CapAmb:"), 0);
    assert!(of_threads(&agent, "NoNewPrivs:").iter().all(|set| set == "1"));
    assert_works(&agent);
}

/// As in a pod: user 0 with these two and nothing else.
#[test]
fn two_capabilities_are_enough() {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-all,+bpf,+perfmon", "--inh-caps", "-all"]);
    command.arg(program()).arg("agent");
    let agent = Agent::start_by("two", command);
    a_reset(&agent);
    assert!(agent.end().success());
}

/// System calls that the shipped profile allows.
fn allowed() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/seccomp/tcpwhy.json");
    let profile: Value = serde_json::from_slice(&fs::read(path).expect("read the profile")).expect("JSON");
    let rules = profile["syscalls"].as_array().expect("rules");
    let names = rules.iter().flat_map(|rule| rule["names"].as_array().expect("names"));
    names.map(|name| name.as_str().expect("a name").to_owned()).collect()
}

/// The profile as a filter that kills where the profile refuses; each architecture lacks some of the names.
fn filter() -> BpfProgram {
    let arch = TargetArch::try_from(std::env::consts::ARCH).expect("an architecture of the profile");
    let compile = |names: &[String]| {
        let rules: Vec<_> = names.iter().map(|name| json!({ "syscall": name })).collect();
        let rules = json!({ "mismatch_action": "kill_process", "match_action": "allow", "filter": rules });
        compile_from_json(json!({ "agent": rules }).to_string().as_bytes(), arch)
    };
    let known: Vec<_> =
        allowed().into_iter().filter(|name| compile(std::slice::from_ref(name)).is_ok()).collect();
    assert!(known.len() > 80, "{known:?}");
    compile(&known).expect("a filter").remove("agent").expect("the filter")
}

fn confined(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let (filter, mut command) = (filter(), Command::new(program));
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
    unsafe { command.pre_exec(move || apply_filter(&filter).map_err(|_| io::Error::last_os_error())) };
    command
}

#[test]
fn the_shipped_profile_is_enough() {
    let record = folder().join("confined.rec");
    fs::write(&record, "an old one").expect("write a file");
    let mut command = confined(program());
    command.arg("agent").args(["--page", "127.0.0.1:0", "--tail", "--overwrite", "--record"]).arg(&record);
    let agent = Agent::start_by("confined", command);
    assert_works(&agent);
    for path in ["/v1/advise", "/v1/families", "/v1/status", "/v1/top"] {
        assert!(!agent.query(path).is_empty());
    }
    // A second one asks who answers there.
    let mut second = confined(program());
    second.args(["agent", "--listen", "127.0.0.1:0", "--socket"]).arg(agent.socket());
    assert_eq!(second.output().expect("start a second agent").status.code(), Some(1));
    assert!(agent.end().success());
}

#[test]
fn the_shipped_profile_refuses_what_the_agent_never_does() {
    let mut command = confined("unshare");
    let status = command.args(["--net", "true"]).status().expect("start unshare");
    assert_eq!(status.signal(), Some(libc::SIGSYS), "{status}");
}
