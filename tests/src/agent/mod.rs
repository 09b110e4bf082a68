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
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::thread;

use nix::sys::prctl;
use nix::sys::signal::Signal;

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
}

/// The agent of this test process; the first call starts it.
pub fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(Agent::start)
}

/// The program under test.
pub fn program() -> PathBuf {
    let path = env::var_os("TCPWHY_BIN")
        .expect("TCPWHY_BIN names the program under test (cargo xtask test sets it)");
    PathBuf::from(path)
}

impl Agent {
    fn start() -> Self {
        let socket = folder().join("tcpwhy.sock");
        let (sender, started) = mpsc::channel();
        let path = socket.clone();
        // The kernel kills the agent when the thread that started it ends: this one never does.
        thread::spawn(move || supervise(&path, &sender));
        let (pid, metrics) = started.recv_timeout(PATIENCE).expect("the agent to print its metrics address");
        Self { metrics, socket, pid }
    }

    /// Follows the events of one namespace.
    pub fn tail(&self, netns: &Netns) -> Tail {
        Tail::open(&self.socket, &format!("netns={}", netns.inode()))
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

    /// Its query socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }
}

fn supervise(socket: &Path, started: &Sender<(u32, SocketAddr)>) {
    let mut child = spawn(socket);
    let errors = child.stderr.take().expect("its standard error");
    report(errors, |address| {
        let _ = started.send((child.id(), address));
    });
    let status = child.wait().expect("wait for the agent");
    eprintln!("the agent ended: {status}");
    loop {
        thread::park();
    }
}

fn spawn(socket: &Path) -> Child {
    let mut command = Command::new(program());
    command.args(["agent", "--listen", "127.0.0.1:0", "--socket"]).arg(socket);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from)) };
    command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}"))
}

/// Passes on what the agent says, and the first address it names.
fn report(errors: ChildStderr, started: impl Fn(SocketAddr)) {
    for line in BufReader::new(errors).lines().map_while(Result::ok) {
        eprintln!("agent: {line}");
        if let Some(address) = metrics_address(&line) {
            started(address);
        }
    }
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
