//! What comes and goes around the agent, and what it is called.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tests::actor::binary;
use tests::agent::command::run;
use tests::agent::metrics::Metrics;
use tests::agent::{Agent, folder};
use tests::kube::{self, Kubernetes};
use tests::netns::Netns;
use tests::pod::{self, Container};
use tests::skip::skip;
use tests::{tcp, wait};

/// Namespaces, or cgroups, that come and go.
const MANY: usize = 500;

/// KiB that the events of other tests, which every agent sees, may take meanwhile.
const OTHERS: u64 = 16 << 10;

/// A test at a time: every agent sees what all of them do.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// KiB resident.
fn memory(agent: &Agent) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("read an agent's status");
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    memory.expect("its memory").parse().expect("KiB")
}

fn files(agent: &Agent) -> usize {
    fs::read_dir(format!("/proc/{}/fd", agent.pid())).expect("list an agent's files").count()
}

fn refuse() {
    TcpStream::connect((Ipv4Addr::LOCALHOST, 1)).expect_err("nobody listens");
}

#[test]
fn namespaces_that_come_and_go_are_counted_and_forgotten() {
    let _alone = alone();
    let agent = Agent::start("namespaces", &[]);
    let resets = || agent.metrics().count("tcpwhy_resets_received_total", &[("state", "SYN_SENT")]);
    let come_and_go = |count| (0..count).for_each(|_| Netns::new().run(refuse));
    come_and_go(MANY);
    let (counted, before) = (resets(), memory(&agent));
    come_and_go(MANY);
    assert!(resets() - counted >= MANY as u64);
    let now = memory(&agent);
    assert!(now < before + OTHERS, "{before} KiB, then {now}");
}

#[test]
fn cgroups_that_come_and_go_are_forgotten() {
    let _alone = alone();
    let Ok(root) = pod::root() else { return skip("cgroups_that_come_and_go", "no cgroup v2") };
    let agent = Agent::start("cgroups", &[]);
    let folder = |n: usize| root.join(format!("tcpwhy-lab-{}-churn-{n}.service", std::process::id()));
    let come_and_go = |count| {
        for n in 0..count {
            fs::create_dir(folder(n)).expect("make a cgroup");
            fs::remove_dir(folder(n)).expect("remove a cgroup");
        }
    };
    // What it opens once is open by then.
    come_and_go(MANY);
    let (open, before) = (files(&agent), memory(&agent));
    come_and_go(MANY);
    assert!(agent.query("/v1/status").contains("probes"));
    let now = memory(&agent);
    assert!(now < before + OTHERS, "{before} KiB, then {now}");
    // It may be reading some at this moment.
    wait::until("the files to be closed", || files(&agent) < open + MANY / 10);
}

/// Pods that live at the same time.
const TOGETHER: usize = 50;

/// Starts pod `n`, whose only connection is refused; it lives as long as this value.
fn refused_pod(api: &Kubernetes, netns: &Netns, n: usize) -> Container {
    let container = Container::new().expect("a cgroup");
    api.add(kube::pod(&container.pod_uid, "churn", &format!("web{n}"), "app", &container.id));
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$ > \"$0\" && exec \"$1\" connect 127.0.0.1:1"]);
    command.arg(container.procs()).arg(binary());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    netns.start(&mut command).wait().expect("wait for an actor");
    container
}

fn refusals(metrics: &Metrics, n: usize) -> Option<f64> {
    let pod = format!("web{n}-5d4f-abcde");
    let labels = [("namespace", "churn"), ("pod", &*pod), ("container", "app"), ("state", "SYN_SENT")];
    metrics.sum("tcpwhy_resets_received_total", &labels)
}

/// Below the 512 places that have series of their own, since those of the dead go a minute later. By its name
/// the first: the others run in that minute.
#[test]
fn a_pod_that_went_keeps_its_name_and_leaves_no_series() {
    let alone = alone();
    if let Err(reason) = pod::root() {
        return skip("a_pod_that_went_keeps_its_name_and_leaves_no_series", &reason);
    }
    let (api, netns) = (Kubernetes::start(), Netns::new());
    let agent = Agent::start("pods", &["--node-name", "node1", "--kubernetes-api", &api.url()]);
    wait::until("a watch", || api.asked().len() >= 2);
    let come_and_go = |all: Range<usize>| {
        for first in all.step_by(TOGETHER) {
            let numbers = first..first + TOGETHER;
            let pods: Vec<_> = numbers.clone().map(|n| refused_pod(&api, &netns, n)).collect();
            wait::until("all of them by name", || {
                let metrics = agent.metrics();
                numbers.clone().all(|n| refusals(&metrics, n) == Some(1.0))
            });
            api.clear();
            drop(pods);
        }
    };
    come_and_go(0..TOGETHER);
    let (open, before) = (files(&agent), memory(&agent));
    come_and_go(TOGETHER..MANY);
    let now = memory(&agent);
    assert!(now < before + OTHERS, "{before} KiB, then {now}");
    // It may be reading one at this moment.
    wait::until("no more files to be open than before", || files(&agent) <= open);
    // The others need not wait for the minute that is to pass.
    drop(alone);

    let socket = agent.socket().to_str().expect("plain text");
    let dead = run(&["why", "-o", "json", "--socket", socket, "--pod", "churn/web7-5d4f-abcde"]);
    assert!(dead.status.success(), "the dead keep their names: {dead:?}");
    let series = || agent.get("/metrics").matches("namespace=\"churn\"").count();
    assert!(series() > 0, "they stay for a minute");
    let end = Instant::now() + Duration::from_mins(3);
    while series() > 0 {
        assert!(Instant::now() < end, "{} series are of dead pods", series());
        thread::sleep(Duration::from_secs(1));
    }
    let _last = refused_pod(&api, &netns, MANY);
    wait::until("one more", || refusals(&agent.metrics(), MANY) == Some(1.0));
}

/// Quotes and a backslash for labels, a newline for lines, an escape for terminals, a byte that is no UTF-8.
const HOSTILE: &[u8] = b"a\"\\\n}\x1b[31m\xff";

/// The program under another name, which the kernel takes over as the process's.
fn hostile_program() -> PathBuf {
    let path = folder().join(OsStr::from_bytes(HOSTILE));
    symlink(binary(), &path).expect("link a program");
    path
}

#[test]
fn hostile_names_of_processes_break_no_line() {
    let _alone = alone();
    let agent = Agent::start("names", &[]);
    let netns = Netns::new();
    let tail = agent.tail(&netns);
    let mut command = Command::new(hostile_program());
    command.arg0("actor").args(["accept", "127.0.0.1:0"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = netns.start(&mut command);
    // Every line is parsed as JSON.
    let listens = tail.wait_for("a listener", |event| event.name() == "state_changed");
    let comm = listens.text("/process/comm");
    assert!(comm.starts_with("a\"\\\n}\u{1b}[31m"), "{comm:?}");
    let agent_socket = agent.socket().to_str().expect("plain text");
    let text = run(&["why", "--socket", agent_socket, "--netns", &netns.inode().to_string()]);
    wait::until("its family to be reported", || {
        let page = agent.get("/metrics");
        assert!(page.lines().all(|line| line.starts_with("tcpwhy_") || line.starts_with('#')), "{page}");
        assert!(!page.contains('\u{1b}'), "an escape in the metrics");
        page.contains("tcpwhy_process_family_sockets")
    });
    assert!(!text.stdout.contains(&0x1b) && !text.stderr.contains(&0x1b), "{text:?}");
    child.kill().expect("end an actor");
    child.wait().expect("wait for an actor");
}

/// Longest that a name of a file may be; the kernel refuses newlines in those of cgroups.
fn hostile_unit() -> Vec<u8> {
    let mut name = b"tcpwhy-lab-\"\\}\x1b[31m\xff".to_vec();
    name.resize(255 - ".service".len(), b'x');
    [name, b".service".to_vec()].concat()
}

#[test]
fn hostile_names_of_cgroups_break_no_page() {
    let _alone = alone();
    let Ok(root) = pod::root() else { return skip("hostile_names_of_cgroups", "no cgroup v2") };
    let folder = root.join(OsStr::from_bytes(&hostile_unit()));
    // A killed test may have left it.
    let _ = fs::create_dir(&folder);
    let (agent, netns) = (Agent::start("units", &[]), Netns::new());
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$1\" connect 127.0.0.1:1"]);
    command.arg(&folder).arg(binary()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    netns.start(&mut command).wait().expect("wait for an actor");
    let page = wait::some("its counters", || {
        Some(agent.get("/metrics")).filter(|page| page.contains(r#"unit="tcpwhy-lab-\"\\\\}\\u{1b}[31m"#))
    });
    assert!(page.lines().all(|line| line.starts_with("tcpwhy_") || line.starts_with('#')), "{page}");
    assert!(!page.contains('\x1b'), "a page of metrics is looked at in a terminal too");
    wait::until("the cgroup to be empty", || fs::remove_dir(&folder).is_ok());
}

/// A day in half a minute: trouble of every kind without end, readers that come and go.
#[test]
fn the_agent_grows_no_more_when_busy() {
    const WARM: Duration = Duration::from_secs(10);
    const SOAK: Duration = Duration::from_secs(20);
    const WEIGHINGS: u32 = 10;
    let _alone = alone();
    let agent = Agent::start("soak", &["--max-connections", "1000", "--history", "1000"]);
    let netns = Netns::new();
    let work_for = |time| {
        let until = Instant::now() + time;
        while Instant::now() < until {
            netns.run(trouble);
            drop(agent.tail(&netns));
            agent.metrics();
            agent.query("/v1/top");
        }
    };
    let evicted = || agent.metrics().sum("tcpwhy_evicted_total", &[("table", "history")]).unwrap_or_default();
    wait::until("the tables to be full", || {
        work_for(WARM);
        evicted() > 0.0
    });
    // What waits to be handled comes and goes with the machine's load: the least that is held now, beside the most then.
    let weigh = || {
        (0..WEIGHINGS).map(|_| {
            work_for(WARM / WEIGHINGS);
            memory(&agent)
        })
    };
    let (open, before) = (files(&agent), weigh().max().expect("some"));
    work_for(SOAK);
    let now = weigh().min().expect("some");
    assert!(now < before + (2 << 10), "{before} KiB, then {now}");
    wait::until("its readers' files to be closed", || files(&agent) <= open + 1);
}

fn trouble() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
    let to = listener.local_addr().expect("its address");
    for _ in 0..200 {
        refuse();
        let client = TcpStream::connect(to).expect("connect");
        let server = listener.accept().expect("accept").0;
        tcp::abort(client);
        drop(server);
    }
}
