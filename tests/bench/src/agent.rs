//! The real program, its tail off.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};
use std::{env, ops, thread};

use agent_common::count::{CountKey, Row};
use anyhow::{Context as _, Result, bail};
use aya::maps::{Map, MapData, MapInfo, PerCpuHashMap};
use aya::programs::loaded_programs;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::agent::http;
use tests::agent::metrics::Metrics;
use tests::netns::Netns;

use crate::Subject;
use crate::process::{Process, field};

/// What a program has cost, as the kernel counts it under `BPF_ENABLE_STATS`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Nanoseconds.
    pub time: u64,
    /// Events.
    pub runs: u64,
}

impl ops::Sub for Cost {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { time: self.time - before.time, runs: self.runs - before.runs }
    }
}

impl Cost {
    /// Nanoseconds an event.
    pub fn mean(self) -> f64 {
        self.time as f64 / self.runs as f64
    }
}

/// From the text of a program's `fdinfo`.
pub fn cost(fdinfo: &str) -> Result<Cost> {
    Ok(Cost { time: field(fdinfo, "run_time_ns")?, runs: field(fdinfo, "run_cnt")? })
}

/// Every event gets a record, however many there are.
pub const UNLIMITED: &[&str] = &["--storm-rate", "0"];

/// Begins the line that tells how long the pipeline was held (`agent/src/live/holds.rs`).
const HOLDS: &str = "longest holds of the pipeline in us:";

/// A running agent; it ends with this value.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    socket: PathBuf,
    metrics: SocketAddr,
    /// What it says after that.
    said: Mutex<Receiver<String>>,
}

impl Agent {
    /// Starts one and waits until it is attached.
    pub fn start(subject: &Subject, options: &[&str]) -> Result<Self> {
        let socket = socket();
        let mut command = command(subject, &socket);
        command.args(options);
        let mut child = command.stdout(Stdio::null()).spawn().context("start tcpwhy")?;
        let (metrics, said) = address(child.stderr.take().context("its standard error")?)?;
        Ok(Self { child, socket, metrics, said: Mutex::new(said) })
    }

    /// Its process.
    pub fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// Stops it: what it does not read stays in the ring.
    pub fn stop(&self) -> Result<()> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGSTOP).context("stop the agent")
    }

    /// Lets it go on, and gives it the time to catch up.
    pub fn go_on(&self) -> Result<()> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGCONT).context("let the agent go on")?;
        thread::sleep(Duration::from_millis(150));
        Ok(())
    }

    /// Scrapes, and how long that took.
    pub fn scrape(&self) -> Result<(Metrics, Duration)> {
        let start = Instant::now();
        let stream = TcpStream::connect(self.metrics).context("connect to the agent")?;
        let mut text = String::new();
        http::get(stream, "/metrics").read_to_string(&mut text).context("scrape the agent")?;
        Ok((Metrics::parse(&text), start.elapsed()))
    }

    /// Asks it on its query socket.
    pub fn ask(&self, question: &str) -> Result<String> {
        let stream = UnixStream::connect(&self.socket).context("connect to the query socket")?;
        let mut text = String::new();
        http::get(stream, question).read_to_string(&mut text)?;
        Ok(text)
    }

    /// Ends it; how long each kind of question has held its pipeline at most, in milliseconds. It says so at the end
    /// if its log has the level `debug`.
    pub fn holds(mut self) -> Result<Vec<(String, f64)>> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).context("end the agent")?;
        self.child.wait().context("wait for the agent's end")?;
        let said = self.said.get_mut().expect("nobody else listens");
        let line = said.iter().find_map(|line| Some(line.split_once(HOLDS)?.1.to_owned()));
        let line = line.context("the agent does not tell how long its pipeline was held")?;
        let hold = |part: &str| {
            let (what, longest) = part.trim().split_once(' ').with_context(|| line.clone())?;
            Ok((what.to_owned(), longest.parse::<f64>().with_context(|| line.clone())? / 1000.0))
        };
        line.split(',').map(hold).collect()
    }

    /// What each of its programs has cost so far.
    pub fn costs(&self) -> Result<BTreeMap<String, Cost>> {
        let names = names()?;
        let mut costs = BTreeMap::new();
        for info in self.fdinfo()?.iter().filter(|info| info.contains("run_time_ns")) {
            if let Some(name) = names.get(&(field(info, "prog_id")? as u32)) {
                costs.insert(name.clone(), cost(info)?);
            }
        }
        Ok(costs)
    }

    /// Events of `signal` in `netns`, out of the map that the metrics are made of.
    pub fn counted(&self, netns: &Netns, signal: u16) -> Result<u64> {
        let counts = self.counts()?;
        let mut sum = 0;
        for entry in &counts {
            let (key, values) = entry.context("read the agent's counters")?;
            if u64::from(key.netns) == netns.inode() && key.signal == signal {
                sum += values.iter().map(|row| row.count.events).sum::<u64>();
            }
        }
        Ok(sum)
    }

    fn counts(&self) -> Result<PerCpuHashMap<MapData, CountKey, Row>> {
        for info in self.fdinfo()?.iter().filter(|info| info.contains("map_id")) {
            let id = field(info, "map_id")? as u32;
            if MapInfo::from_id(id)?.name_as_str() == Some("COUNTS") {
                return Ok(Map::PerCpuHashMap(MapData::from_id(id)?).try_into()?);
            }
        }
        bail!("the agent holds no map COUNTS")
    }

    fn fdinfo(&self) -> Result<Vec<String>> {
        let path = format!("/proc/{}/fdinfo", self.child.id());
        let files = fs::read_dir(&path).with_context(|| format!("list {path}"))?;
        Ok(files.filter_map(|file| fs::read_to_string(file.ok()?.path()).ok()).collect())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.socket);
    }
}

/// `tcpwhy agent` on a free port.
pub fn command(subject: &Subject, socket: &PathBuf) -> Command {
    let mut command = Command::new(&subject.tcpwhy);
    command.args(["agent", "--listen", "127.0.0.1:0", "--socket"]).arg(socket);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A path for an agent's query socket.
pub fn socket() -> PathBuf {
    env::temp_dir().join(format!("tcpwhy-bench-{}.sock", std::process::id()))
}

/// Waits for the line that names the metrics; reads on, so that the agent never waits for its reader.
fn address(errors: ChildStderr) -> Result<(SocketAddr, Receiver<String>)> {
    let mut lines = BufReader::new(errors).lines().map_while(Result::ok);
    let found = lines.by_ref().find_map(|line| {
        let (_, rest) = line.split_once("http://")?;
        rest.split_once("/metrics")?.0.parse().ok()
    });
    let (tell, said) = mpsc::channel();
    // Nobody may listen.
    thread::spawn(move || lines.for_each(|line| drop(tell.send(line))));
    Ok((found.context("the agent ended before it served its metrics")?, said))
}

/// Names of all loaded programs by their ids.
fn names() -> Result<BTreeMap<u32, String>> {
    let programs = loaded_programs().map(|program| {
        let program = program.context("list the loaded programs")?;
        Ok((program.id(), program.name_as_str().unwrap_or_default().to_owned()))
    });
    programs.collect()
}
