//! What the agent takes while little or much is remembered, and how soon it is there.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use agent_common::signal;
use anyhow::{Context as _, Result};
use tests::netns::Netns;

use crate::Subject;
use crate::agent::{self, Agent, UNLIMITED};
use crate::load::{self, Stalled};
use crate::table::{Row, Table, median};

/// Connections that stall at the same time; both ends are open files here.
const STALLED: usize = 9000;
/// How long an idle agent is watched.
const IDLE: Duration = Duration::from_secs(5);
/// Starts and scrapes of which the median is reported.
const ROUNDS: usize = 5;

/// Measures all.
pub fn measure(subject: &Subject, table: &mut Table) -> Result<()> {
    start(subject, table)?;
    let agent = Agent::start(subject, UNLIMITED)?;
    idle(&agent, table)?;
    let mut stalled = Stalled::open(STALLED);
    stalled.resend(1);
    exact(&agent, &stalled, table)?;
    thread::sleep(Duration::from_secs(1));
    let memory = agent.process().resident()?;
    budget(table, &format!("resident memory, {STALLED} stalled connections"), mebibytes(memory), "MiB", 64.0);
    scrape(&agent, table)?;
    drop(stalled);
    binary(subject, table)
}

/// All timers of one tick, at the same time.
fn exact(agent: &Agent, stalled: &Stalled, table: &mut Table) -> Result<()> {
    let before = stalled.resent();
    let ours = agent.counted(stalled.client(), signal::RETRANSMIT)?;
    let kernels = ours.clamp(before, stalled.resent());
    table.push(Row {
        what: "storm of timeouts: segments sent again, counted".to_owned(),
        reference: format!("{kernels}, TcpRetransSegs"),
        ours: ours.to_string(),
        ratio: Some(ours.abs_diff(kernels) as f64 + 1.0),
        budget: Some(1.0),
        why: "some guests run no tracing program at all while a thread of their process 1 is interrupted, which \
            is about 1 of 200 timer ticks here: bpftrace misses them as well, and stock kernels have none \
            of it; `tcpwhy_snmp_difference` shows it",
    });
    Ok(())
}

fn idle(agent: &Agent, table: &mut Table) -> Result<()> {
    thread::sleep(Duration::from_secs(1));
    budget(table, "resident memory, idle", mebibytes(agent.process().resident()?), "MiB", 20.0);
    let (sleeps, cpu) = (agent.process().sleeps()?, agent.process().cpu()?);
    thread::sleep(IDLE);
    let (sleeps, cpu) = (agent.process().sleeps()? - sleeps, agent.process().cpu()? - cpu);
    let rate = sleeps as f64 / IDLE.as_secs_f64();
    let share = cpu as f64 / IDLE.as_nanos() as f64 * 100.0;
    table.push(Row {
        what: "wake-ups of an agent with little to do".to_owned(),
        ours: format!("{rate:.1}/s, {share:.2} % of a core"),
        ..Row::default()
    });
    Ok(())
}

fn scrape(agent: &Agent, table: &mut Table) -> Result<()> {
    let times = (0..ROUNDS).map(|_| Ok(agent.scrape()?.1.as_secs_f64() * 1000.0));
    let time = median(times.collect::<Result<_>>()?);
    budget(table, &format!("scrape, {STALLED} stalled connections"), time, "ms", 10.0);
    Ok(())
}

fn binary(subject: &Subject, table: &mut Table) -> Result<()> {
    let size = fs::metadata(&subject.tcpwhy).context("measure the program")?.len();
    budget(table, "size of the program, `release` profile", mebibytes(size / 1024), "MiB", 12.0);
    Ok(())
}

fn budget(table: &mut Table, what: &str, value: f64, unit: &str, most: f64) {
    table.push(Row {
        what: format!("{what} ({unit})"),
        ours: format!("{value:.1} {unit}"),
        ratio: Some(value),
        budget: Some(most),
        ..Row::default()
    });
}

fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}

/// From the start of the process to the first event that it prints, while there is one each millisecond.
fn start(subject: &Subject, table: &mut Table) -> Result<()> {
    let (netns, done) = (Netns::new(), AtomicBool::new(false));
    let times = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                load::refused(&netns, 1);
                thread::sleep(Duration::from_millis(1));
            }
        });
        let times = (0..ROUNDS).map(|_| first_line(subject)).collect::<Result<_>>();
        done.store(true, Ordering::Relaxed);
        times
    })?;
    budget(table, "start to first event", median(times), "s", 1.0);
    Ok(())
}

fn first_line(subject: &Subject) -> Result<f64> {
    let socket = agent::socket();
    let mut command = agent::command(subject, &socket);
    command.arg("--tail").stdout(Stdio::piped()).stderr(Stdio::null());
    let start = Instant::now();
    let mut child = command.spawn().context("start tcpwhy")?;
    let mut line = String::new();
    let read = BufReader::new(child.stdout.take().context("its output")?).read_line(&mut line);
    let time = start.elapsed().as_secs_f64();
    child.kill().context("end tcpwhy")?;
    child.wait().context("wait for tcpwhy")?;
    let _ = fs::remove_file(&socket);
    read.context("read the first event").map(|_| time)
}
