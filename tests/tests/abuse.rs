//! What goes wrong around the agent ends as it should.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::Duration;

use aya::programs::loaded_programs;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::agent::event::Event;
use tests::agent::{Agent, command, folder, http, program};
use tests::cgroup::LimitedCgroup;
use tests::netns::Netns;
use tests::skip::skip;
use tests::tcp;
use tests::wait;

/// What a process holds of the host.
#[derive(Clone, Copy, Debug)]
struct Held {
    files: usize,
    /// KiB.
    memory: u64,
}

fn held(agent: &Agent) -> Held {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("read an agent's status");
    let files = fs::read_dir(format!("/proc/{}/fd", agent.pid())).expect("list an agent's files").count();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    Held { files, memory: memory.expect("its memory").parse().expect("KiB") }
}

/// Held by a test that weighs an agent, alone: every agent sees what all tests do. The others share it.
static SCALES: RwLock<()> = RwLock::new(());

/// Not while an agent is weighed.
fn beside_others() -> RwLockReadGuard<'static, ()> {
    SCALES.read().unwrap_or_else(PoisonError::into_inner)
}

/// Ids of the programs that a process holds.
fn programs(pid: u32) -> BTreeSet<u32> {
    let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("list an agent's files");
    let texts = files.filter_map(|file| fs::read_to_string(file.ok()?.path()).ok());
    texts.filter_map(|text| field(&text, "prog_id:")).collect()
}

fn field(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

fn signal(agent: &Agent, signal: Signal) {
    kill(Pid::from_raw(agent.pid().cast_signed()), signal).expect("signal an agent");
}

/// Connects to a closed port: one reset sent, one received.
fn refuse(count: usize) {
    for _ in 0..count {
        TcpStream::connect((Ipv4Addr::LOCALHOST, 1)).expect_err("nobody listens");
    }
}

#[test]
fn a_killed_agent_leaves_nothing_attached() {
    let _beside_others = beside_others();
    let agent = Agent::start("kill", &[]);
    let held = programs(agent.pid());
    assert!(held.len() >= 9, "{held:?}");
    signal(&agent, Signal::SIGKILL);
    wait::until("the kernel to free its programs", || {
        loaded_programs().filter_map(Result::ok).all(|program| !held.contains(&program.id()))
    });
}

#[test]
fn a_stopped_agent_goes_on_where_it_was() {
    let _beside_others = beside_others();
    let agent = Agent::start("stop", &[]);
    let signal = |it| signal(&agent, it);
    let resets = || agent.metrics().count("tcpwhy_resets_received_total", &[("state", "SYN_SENT")]);
    let before = resets();
    signal(Signal::SIGSTOP);
    let netns = Netns::new();
    netns.run(|| refuse(20_000));
    signal(Signal::SIGCONT);
    assert!(resets() - before >= 20_000, "counters do not sleep");
}

/// Sockets that are not remembered lose their owner, not their count.
#[test]
fn a_full_table_of_sockets_is_counted() {
    let _beside_others = beside_others();
    let agent = Agent::start("small", &["--max-sockets", "64"]);
    Netns::new().run(abort_many);
    let metrics = agent.metrics();
    assert!(metrics.count("tcpwhy_records_lost_total", &[("stage", "socket")]) > 0);
    let counted = metrics.count("tcpwhy_resets_received_total", &[("state", "ESTABLISHED")]);
    assert!(counted >= MANY as u64, "{counted} resets counted: {metrics:#?}");
}

/// More connections than the table has places.
const MANY: usize = 200;

fn abort_many() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
    let to = listener.local_addr().expect("its address");
    let pair = || {
        let client = TcpStream::connect(to).expect("connect");
        (client, listener.accept().expect("accept").0)
    };
    let (clients, servers): (Vec<_>, Vec<_>) = (0..MANY).map(|_| pair()).unzip();
    clients.into_iter().for_each(tcp::abort);
    // A busy kernel delivers some of the resets a little later.
    for server in &servers {
        assert_eq!(tcp::death(server), libc::ECONNRESET);
    }
}

/// In a mount namespace of its own, on a disk of 64 KiB.
#[test]
fn a_full_disk_ends_a_recording_with_its_name() {
    let _beside_others = beside_others();
    let disk = folder().join("disk");
    fs::create_dir_all(&disk).expect("make a folder");
    let script =
        "mount -t tmpfs -o size=64k tmpfs \"$1\" && exec \"$0\" record --storm-rate 0 \"$1/full.rec\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).arg(program()).arg(&disk).stderr(Stdio::piped());
    let mut child = command.spawn().expect("start a recording");
    let netns = Netns::new();
    let status = wait::some("the recording to end", || {
        netns.run(|| refuse(500));
        child.try_wait().expect("wait for a recording")
    });
    let mut said = String::new();
    child
        .stderr
        .take()
        .expect("its standard error")
        .read_to_string(&mut said)
        .expect("read its standard error");
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("full.rec") && said.contains("No space left on device"), "{said}");
}

#[test]
fn a_reader_that_goes_and_comes_leaves_no_place_taken() {
    let _beside_others = beside_others();
    let agent = Agent::start("readers", &[]);
    for _ in 0..200 {
        drop(UnixStream::connect(agent.socket()).expect("connect to the agent's socket"));
    }
    assert!(agent.query("/v1/status").contains("\"readers\":0"));
}

/// What the kernel side keeps in a file system outlives its agent.
fn pinned() -> BTreeSet<PathBuf> {
    let entries = fs::read_dir("/sys/fs/bpf").into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

#[test]
fn after_a_kill_another_begins_anew_in_its_place() {
    let _beside_others = beside_others();
    let (netns, before) = (Netns::new(), pinned());
    let first = Agent::start_in(&netns, "again", &[]);
    netns.run(|| refuse(500));
    signal(&first, Signal::SIGKILL);
    let second = Agent::start_in(&netns, "again", &[]);
    assert_eq!(first.socket(), second.socket(), "the stale one is replaced");
    assert!(second.query("/v1/status").contains(&format!("\"pid\":{}", second.pid())));
    netns.run(|| refuse(300));
    let metrics = netns.run(|| second.metrics());
    let difference = metrics.sum("tcpwhy_snmp_difference", &[("counter", "OutRsts")]);
    assert_eq!(difference, Some(0.0), "nothing is counted twice, nothing left out");
    assert_eq!(pinned(), before);
}

/// More half-open clients than any limit.
const CROWD: usize = 1000;

fn half_open<S: Write>(connect: impl Fn() -> io::Result<S>) -> Vec<S> {
    let client = || {
        let mut stream = connect().expect("connect");
        // Who gives way is gone.
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: tcp");
        stream
    };
    (0..CROWD).map(|_| client()).collect()
}

/// Only for who names a loopback host.
fn front_page(page: SocketAddr) -> String {
    let mut stream = TcpStream::connect(page).expect("connect to the page");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").expect("ask");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn half_open_clients_keep_nobody_out() {
    let _alone = SCALES.write().unwrap_or_else(PoisonError::into_inner);
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("read a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("raise a limit");
    let agent = Agent::start("crowd", &["--page", "127.0.0.1:0"]);
    let (before, page) = (held(&agent), agent.page_address().expect("a page"));
    let metrics = half_open(|| TcpStream::connect(agent.metrics_address()));
    agent.metrics();
    let pages = half_open(|| TcpStream::connect(page));
    assert!(front_page(page).starts_with("HTTP/1.1 200"));
    let queries = half_open(|| UnixStream::connect(agent.socket()));
    assert!(agent.query("/v1/status").contains("probes"));
    let now = held(&agent);
    // As many places as all listeners have together, and one at each door.
    assert!(now.files <= before.files + 32 + 64 + 64 + 3, "{before:?} {now:?}");
    assert!(now.memory < before.memory + (32 << 10), "{before:?} {now:?}");
    drop((metrics, pages, queries));
    wait::until("their places to be free", || held(&agent).files <= before.files + 3);
}

#[test]
fn a_reader_that_sleeps_holds_up_nobody() {
    let _beside_others = beside_others();
    let agent = Agent::start("sleeper", &["--storm-rate", "0"]);
    let resets = || agent.metrics().count("tcpwhy_resets_received_total", &[("state", "SYN_SENT")]);
    let records = || agent.metrics().count("tcpwhy_records_total", &[("signal", "reset_received")]);
    let before = (resets(), records());
    let stream = UnixStream::connect(agent.socket()).expect("connect to the agent's socket");
    let asleep = http::get(stream, "/v1/events");
    Netns::new().run(|| refuse(30_000));
    assert!(resets() - before.0 >= 30_000 && records() > before.1);
    let lines = BufReader::new(asleep).lines().map(|line| line.expect("a line"));
    let missed = lines.map(|line| Event::parse(&line)).find(|event| event.name() == "missed");
    assert!(missed.expect("a line about the rest").number("/count") > 0);
    assert!(agent.metrics().count("tcpwhy_tail_missed_total", &[]) > 0);
}

/// A user of the host that called no sudo.
const NEIGHBOUR: libc::uid_t = 54_321;

/// A socket at which another user was first.
fn squat(path: PathBuf) -> UnixListener {
    let squatter = thread::spawn(move || {
        // SAFETY: three numbers; unlike the function of libc the call itself changes this thread alone, which ends.
        let changed = unsafe { libc::syscall(libc::SYS_setresuid, NEIGHBOUR, NEIGHBOUR, NEIGHBOUR) };
        assert_eq!(changed, 0, "{}", io::Error::last_os_error());
        UnixListener::bind(path).expect("listen as another user")
    });
    squatter.join().expect("a squatter")
}

#[test]
fn who_listens_first_is_not_believed() {
    let shared = folder().join("shared");
    fs::create_dir_all(&shared).expect("make a folder");
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).expect("let everybody write");
    let path = shared.join("squat.sock");
    let _squatter = squat(path.clone());
    let path = path.to_str().expect("a path of plain text");
    for question in [&["tail"][..], &["why", "--last"], &["advise"]] {
        let output = command::run(&[question, &["--socket", path]].concat());
        assert_eq!(output.status.code(), Some(1), "{question:?}: {output:?}");
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(printed.contains("user 54321 answers there"), "{question:?}: {printed}");
    }
}

/// Clients that ask for nothing, more than an agent with few descriptors can take.
const FEW: usize = 200;

#[test]
fn few_descriptors_keep_out_clients_and_do_not_end_the_agent() {
    let _beside_others = beside_others();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 90 && exec \"$0\" \"$@\""]).arg(program()).arg("agent");
    let agent = Agent::start_by("descriptors", command);
    let metrics: Vec<_> = (0..FEW).map(|_| TcpStream::connect(agent.metrics_address())).collect();
    let queries: Vec<_> = (0..FEW).map(|_| UnixStream::connect(agent.socket())).collect();
    let netns = Netns::new();
    for _ in 0..3 {
        // What was lost is asked a second after records came, and takes a descriptor.
        netns.run(|| refuse(2000));
        thread::sleep(Duration::from_millis(1100));
    }
    assert!(agent.query("/v1/status").contains("probes"));
    assert!(agent.metrics().count("tcpwhy_resets_received_total", &[("state", "SYN_SENT")]) >= 6000);
    assert!(agent.said("open files are in use") && !agent.said("Too many open files"));
    drop((metrics, queries));
    assert!(agent.end().success());
}

/// The runtime lets a thread that waits for work go after this time, unless told otherwise.
const IDLE: Duration = Duration::from_secs(11);

#[test]
fn an_agent_that_gets_no_more_threads_goes_on() {
    let _beside_others = beside_others();
    let cgroup = match LimitedCgroup::with_threads(1000) {
        Ok(cgroup) => cgroup,
        Err(reason) => return skip("an_agent_that_gets_no_more_threads_goes_on", &reason),
    };
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(cgroup.procs()).arg(program()).arg("agent");
    let agent = Agent::start_by("threads", command);
    thread::sleep(IDLE);
    cgroup.fill();
    thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| agent.metrics());
        }
    });
    assert!(agent.query("/v1/status").contains("probes"));
    assert!(agent.end().success());
}

#[test]
fn without_threads_to_begin_with_there_is_an_error() {
    let cgroup = match LimitedCgroup::with_threads(3) {
        Ok(cgroup) => cgroup,
        Err(reason) => return skip("without_threads_to_begin_with_there_is_an_error", &reason),
    };
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(cgroup.procs()).arg(program());
    let output = command.args(["agent", "--listen", "127.0.0.1:0"]).output().expect("start an agent");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("start threads: Resource temporarily unavailable"), "{printed}");
}
