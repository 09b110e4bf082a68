//! Tens of thousands of connections in trouble and hundreds of workloads at once: what is remembered of them,
//! what a scrape takes, and how both grow.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use socket2::{Domain, Socket, Type};
use tests::agent::metrics::Metrics;
use tests::link::{Family, Loss, Pair};
use tests::netns::Netns;
use tests::pod::Container;

use crate::Subject;
use crate::agent::{Agent, UNLIMITED};
use crate::table::{Row, Table, median};

/// Connects that nobody answers, and how many of them one process holds: a host's limit of open files is often
/// 20,000.
const CONNECTIONS: usize = 50_000;
const EACH: usize = 10_000;
/// A tenth, to see how memory and scrapes grow.
const FEW: usize = CONNECTIONS / 10;
/// Pods with a container each, and events of their own.
const WORKLOADS: usize = 200;
/// Scrapes of which the median is reported.
const ROUNDS: usize = 9;
/// Connects of one millisecond: timers of all at once would fill the ring.
const PACE: usize = 4;
/// SYNs are sent again after 1 s, 3 s, 7 s, 15 s and 31 s: what the ring lost comes again.
const PATIENCE: Duration = Duration::from_mins(1);

/// What the agent takes at one moment.
struct Taken {
    /// MiB resident.
    memory: f64,
    /// Milliseconds of a scrape.
    scrape: f64,
}

/// Measures all.
pub fn measure(subject: &Subject, table: &mut Table) -> Result<()> {
    let (agent, pair) = (Agent::start(subject, UNLIMITED)?, Pair::new());
    pair.server.drop_incoming(&Loss::all());
    be_patient(&pair.client);
    let workloads = workloads(&pair.client)?;
    let none = taken(&agent)?;
    let mut holders = Vec::new();
    let to = |port| pair.server.socket_address(Family::V4, port);
    holders.push(Holder::start(&pair.client, to(5000), FEW)?);
    let few = remembered(&agent, FEW)?;
    for number in 0..(CONNECTIONS - FEW).div_ceil(EACH) {
        let count = EACH.min(CONNECTIONS - FEW - number * EACH);
        holders.push(Holder::start(&pair.client, to(5001 + number as u16), count)?);
    }
    let many = remembered(&agent, CONNECTIONS)?;
    totals(table, workloads, &many);
    grown(table, &none, &few, &many);
    Ok(())
}

/// Connects back off from their first SYN on, and go on for longer than this measures.
fn be_patient(netns: &Netns) {
    netns.sysctl("ipv4.tcp_syn_retries", 10);
    // 6.5 and later.
    let linear = "/proc/sys/net/ipv4/tcp_syn_linear_timeouts";
    netns.run(|| fs::exists(linear).unwrap_or(false).then(|| fs::write(linear, "0")));
}

fn totals(table: &mut Table, workloads: usize, many: &Taken) {
    let rows =
        [("resident memory", many.memory, "MiB", 64.0, MEMORY), ("scrape", many.scrape, "ms", 10.0, SCRAPE)];
    for (what, value, unit, most, why) in rows {
        table.push(Row {
            what: format!("{what}, {CONNECTIONS} troubled connections, {workloads} workloads ({unit})"),
            ours: format!("{value:.1} {unit}"),
            ratio: Some(value),
            budget: Some(most),
            why,
            ..Row::default()
        });
    }
}

const MEMORY: &str = "every connection keeps its identity, owner, last numbers and a timeline of its first and last \
    events, most of a KiB; `--max-connections` bounds it";
const SCRAPE: &str = "each workload has counters of its own on each CPU, which are read one by one";

/// Ten times as many: ten times as much is in proportion.
fn grown(table: &mut Table, none: &Taken, few: &Taken, many: &Taken) {
    let each = |taken: &Taken, count: usize| (taken.memory - none.memory) * 1024.0 / count as f64;
    let (little, much) = (each(few, FEW), each(many, CONNECTIONS));
    table.push(Row {
        what: format!("memory of a connection, {CONNECTIONS} of them"),
        reference: format!("{little:.2} KiB, {FEW} of them"),
        ours: format!("{much:.2} KiB"),
        ratio: Some(much / little),
        ..Row::default()
    });
    table.push(Row {
        what: format!("scrape, {CONNECTIONS} connections"),
        reference: format!("{:.1} ms, {FEW} connections", few.scrape),
        ours: format!("{:.1} ms", many.scrape),
        ratio: Some(many.scrape / few.scrape),
        ..Row::default()
    });
}

fn taken(agent: &Agent) -> Result<Taken> {
    let times = (0..ROUNDS).map(|_| Ok(agent.scrape()?.1.as_secs_f64() * 1000.0));
    let scrape = median(times.collect::<Result<_>>()?);
    Ok(Taken { memory: agent.process().resident()? as f64 / 1024.0, scrape })
}

/// Once all are.
fn remembered(agent: &Agent, count: usize) -> Result<Taken> {
    let start = Instant::now();
    loop {
        let live = live(&agent.scrape()?.0);
        if live >= count {
            return taken(agent);
        }
        if start.elapsed() > PATIENCE {
            bail!("the agent remembers {live} connections of {count}");
        }
        thread::sleep(Duration::from_millis(200));
    }
}

fn live(metrics: &Metrics) -> usize {
    metrics.sum("tcpwhy_connections", &[("state", "live")]).unwrap_or_default() as usize
}

/// One refused connect in each of [`WORKLOADS`] containers; how many the host allows.
fn workloads(netns: &Netns) -> Result<usize> {
    let containers: Vec<_> = (0..WORKLOADS).map_while(|_| Container::new().ok()).collect();
    for container in &containers {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$1\" refused"]).arg(container.procs());
        let program = std::env::current_exe().context("find this program")?;
        let mut child = netns.start(command.arg(program));
        child.wait().context("wait for a refused connect")?;
    }
    Ok(containers.len())
}

/// A process that holds connects which nobody answers; it ends with this value.
struct Holder(Child);

impl Holder {
    fn start(netns: &Netns, to: SocketAddr, count: usize) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("find this program")?);
        command.args(["hold", &to.to_string(), &count.to_string()]);
        let mut holder = Self(netns.start(command.stdin(Stdio::piped()).stdout(Stdio::piped())));
        let mut line = String::new();
        BufReader::new(holder.0.stdout.take().context("its output")?).read_line(&mut line)?;
        anyhow::ensure!(line == "held\n", "a holder of {count} connects failed");
        Ok(holder)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a [`Holder`]'s process does.
pub fn hold(to: SocketAddr, count: usize) -> Result<()> {
    let mut sockets = Vec::with_capacity(count);
    while sockets.len() < count {
        for _ in 0..PACE.min(count - sockets.len()) {
            sockets.push(begun(to).context("connect")?);
        }
        thread::sleep(Duration::from_millis(1));
    }
    println!("held");
    io::stdin().read_to_end(&mut Vec::new())?;
    drop(sockets);
    Ok(())
}

fn begun(to: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => Ok(socket),
        Err(error) => Err(error),
        Ok(()) => Ok(socket),
    }
}
