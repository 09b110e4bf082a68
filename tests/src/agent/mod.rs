//! The agent itself: the real program on the live kernel, one for each test process.

pub mod command;
pub mod event;
pub mod http;
pub mod metrics;
pub mod tail;

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use self::metrics::Metrics;
use self::tail::Tail;
use crate::netns::Netns;
use crate::wait::PATIENCE;

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    metrics: SocketAddr,
    socket: PathBuf,
    pid: u32,
    said: Arc<Mutex<String>>,
    ended: Mutex<Receiver<ExitStatus>>,
}

/// The agent of this test process; the first call starts it.
pub fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(|| Agent::start("tcpwhy", &[]))
}

/// The program under test.
pub fn program() -> PathBuf {
    let path = env::var_os("TCPWHY_BIN")
        .expect("TCPWHY_BIN names the program under test (cargo xtask test sets it)");
    PathBuf::from(path)
}

impl Agent {
    /// Starts one more, whose socket is called `name`, with these arguments.
    pub fn start(name: &str, more: &[&str]) -> Self {
        let mut command = Command::new(program());
        command.arg("agent").args(more);
        Self::start_by(name, command)
    }

    /// The same inside a network namespace, where its metrics are and its own counters come from.
    pub fn start_in(netns: &Netns, name: &str, more: &[&str]) -> Self {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", netns.path())).arg(program()).arg("agent").args(more);
        Self::start_by(name, command)
    }

    /// The same by a command of any kind, which takes more of the agent's arguments.
    pub fn start_by(name: &str, mut command: Command) -> Self {
        let socket = folder().join(format!("{name}.sock"));
        command.args(["--listen", "127.0.0.1:0", "--socket"]).arg(&socket);
        let (started, starts) = mpsc::channel();
        let (ends, ended) = mpsc::channel();
        // The kernel kills the agent when the thread that started it ends: this one never does.
        let said = Arc::<Mutex<String>>::default();
        let saying = Arc::clone(&said);
        thread::spawn(move || supervise(command, &saying, &started, &ends));
        let (pid, metrics) = starts.recv_timeout(PATIENCE).expect("the agent to print its metrics address");
        Self { metrics, socket, pid, said, ended: Mutex::new(ended) }
    }

    /// Whether it has said this on its standard error.
    pub fn said(&self, text: &str) -> bool {
        self.said.lock().expect("nobody panicked with it").contains(text)
    }

    /// Ends it as Ctrl-C does.
    pub fn end(self) -> ExitStatus {
        kill(Pid::from_raw(self.pid.cast_signed()), Signal::SIGINT).expect("signal an agent");
        let ended = self.ended.into_inner().expect("nobody panicked with it");
        ended.recv_timeout(PATIENCE).expect("the agent to end")
    }

    /// What it answers to `GET path` on its socket, with status 200.
    pub fn query(&self, path: &str) -> String {
        let stream = UnixStream::connect(&self.socket).expect("connect to the agent's socket");
        let mut text = String::new();
        http::get(stream, path).read_to_string(&mut text).expect("read an answer");
        text
    }

    /// Follows the events of one namespace.
    pub fn tail(&self, netns: &Netns) -> Tail {
        Tail::open(&self.socket, &format!("netns={}", netns.inode()))
    }

    /// Follows the events that a query wants.
    pub fn follow(&self, query: &str) -> Tail {
        Tail::open(&self.socket, query)
    }

    /// Scrapes.
    pub fn metrics(&self) -> Metrics {
        Metrics::parse(&self.get("/metrics"))
    }

    /// What it answers to `GET path` on TCP, with status 200.
    pub fn get(&self, path: &str) -> String {
        let stream = TcpStream::connect(self.metrics).expect("connect to the metrics address");
        let mut text = String::new();
        http::get(stream, path).read_to_string(&mut text).expect("read an answer");
        text
    }

    /// Where it serves them.
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics
    }

    /// Where its page is, if it serves one.
    pub fn page_address(&self) -> Option<SocketAddr> {
        let said = self.said.lock().expect("nobody panicked with it");
        said.split_once("page http://")?.1.split_once("/,")?.0.parse().ok()
    }

    /// Its query socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }
}

fn supervise(
    command: Command,
    said: &Mutex<String>,
    started: &Sender<(u32, SocketAddr)>,
    ended: &Sender<ExitStatus>,
) {
    let mut child = spawn(command);
    let errors = child.stderr.take().expect("its standard error");
    for line in BufReader::new(errors).lines().map_while(Result::ok) {
        eprintln!("agent: {line}");
        said.lock().expect("nobody panicked with it").push_str(&line);
        if let Some(address) = metrics_address(&line) {
            let _ = started.send((child.id(), address));
        }
    }
    let status = child.wait().expect("wait for the agent");
    if !status.success() {
        eprintln!("the agent ended: {status}");
    }
    // Nobody may wait for it.
    let _ = ended.send(status);
    loop {
        thread::park();
    }
}

fn spawn(mut command: Command) -> Child {
    // In a process group of its own: a terminal's Ctrl-C is for who started it.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from)) };
    command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}"))
}

/// The address in a line with `http://ADDRESS/metrics`.
fn metrics_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("http://")?;
    rest.split_once("/metrics")?.0.parse().ok()
}

/// A folder for this process's agents. Nothing runs when a test process ends, so the next one clears up.
pub fn folder() -> PathBuf {
    const PREFIX: &str = "tcpwhy-lab-";
    let parent = env::temp_dir();
    let stale = |name: &str| {
        let pid = name.strip_prefix(PREFIX).filter(|pid| pid.parse::<u32>().is_ok());
        pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
    };
    for entry in fs::read_dir(&parent).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(stale) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let folder = parent.join(format!("{PREFIX}{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("create {}: {error}", folder.display()));
    folder
}
