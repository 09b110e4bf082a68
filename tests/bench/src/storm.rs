//! A storm at the rate that one core can produce: what arrives, what it costs, whether the counters hold.

use std::thread;
use std::time::Duration;

use agent_common::signal;
use anyhow::Result;
use tests::agent::metrics::Metrics;
use tests::netns::Netns;
use tests::snmp::Meter;

use crate::Subject;
use crate::agent::{Agent, UNLIMITED};
use crate::bpftrace::Bpftrace;
use crate::load;
use crate::table::{Row, Table};

/// Connects to a closed port, one after another.
const EVENTS: usize = 150_000;
/// Of bpftrace's CPU time for each delivered record.
const BUDGET: f64 = 0.25;

const WHY: &str = "bpftrace prints four numbers; here each of two records a connect is decoded, tied to its connection and \
    process, kept in a timeline and judged";

/// How a reader of events stood the storm.
#[derive(Debug)]
struct Stood {
    /// Nanoseconds of CPU for each delivered record.
    cpu: f64,
    /// KiB afterwards.
    resident: u64,
    /// Records delivered for each that was to be.
    delivered: f64,
    /// What it says itself of losses.
    losses: String,
}

/// Measures the agent, then bpftrace if there is one.
pub fn measure(subject: &Subject, table: &mut Table) -> Result<()> {
    let ours = agent(subject, table)?;
    limited(subject, table)?;
    match bpftrace()? {
        Some(theirs) => compare(table, &ours, &theirs),
        None => table.push(Row {
            what: "CPU of a delivered record".to_owned(),
            reference: "skipped: no bpftrace that runs here".to_owned(),
            ours: micros(ours.cpu),
            ..Row::default()
        }),
    }
    Ok(())
}

fn agent(subject: &Subject, table: &mut Table) -> Result<Stood> {
    let (agent, netns) = (Agent::start(subject, UNLIMITED)?, Netns::new());
    let meter = Meter::new(&netns);
    let little = stood(&agent, &netns, EVENTS / 10)?;
    let much = stood(&agent, &netns, EVENTS)?;
    exact(table, agent.counted(&netns, signal::RESET_SENT)?, meter.get("TcpOutRsts"));
    table.push(Row {
        what: format!("CPU of a delivered record, storm of {EVENTS} connects"),
        reference: format!("{}, storm of {}", micros(little.cpu), EVENTS / 10),
        ours: micros(much.cpu),
        ratio: Some(much.cpu / little.cpu),
        ..Row::default()
    });
    Ok(much)
}

fn stood(agent: &Agent, netns: &Netns, events: usize) -> Result<Stood> {
    let (before, cpu) = (agent.scrape()?.0, agent.process().cpu()?);
    load::refused(netns, events);
    let after = settled(|| Ok(records(&agent.scrape()?.0)))?;
    let cpu = agent.process().cpu()? - cpu;
    let now = agent.scrape()?.0;
    let (delivered, lost) = (after - records(&before), losses(&now) - losses(&before));
    Ok(Stood {
        cpu: cpu as f64 / delivered as f64,
        resident: agent.process().resident()?,
        delivered: delivered as f64 / (delivered + lost) as f64,
        losses: format!("{lost} lost, all told"),
    })
}

/// The same storm as users have it: most events share a line that stands for many.
fn limited(subject: &Subject, table: &mut Table) -> Result<()> {
    let (agent, netns) = (Agent::start(subject, &[])?, Netns::new());
    let meter = Meter::new(&netns);
    let cpu = agent.process().cpu()?;
    load::refused(&netns, EVENTS);
    let records = settled(|| Ok(records(&agent.scrape()?.0)))?;
    let cpu = agent.process().cpu()? - cpu;
    exact(table, agent.counted(&netns, signal::RESET_SENT)?, meter.get("TcpOutRsts"));
    table.push(Row {
        what: format!("storm: CPU of an event, {records} records for {}", 2 * EVENTS),
        ours: micros(cpu as f64 / (2 * EVENTS) as f64),
        ..Row::default()
    });
    Ok(())
}

fn exact(table: &mut Table, ours: u64, kernels: u64) {
    table.push(Row {
        what: "storm: resets counted".to_owned(),
        reference: format!("{kernels}, TcpOutRsts"),
        ours: ours.to_string(),
        ratio: Some(ours.abs_diff(kernels) as f64 + 1.0),
        budget: Some(1.0),
        ..Row::default()
    });
}

/// Records of both kinds that a connect to a closed port gives.
fn records(metrics: &Metrics) -> u64 {
    let of = |signal| metrics.sum("tcpwhy_records_total", &[("signal", signal)]).unwrap_or_default() as u64;
    of("reset_sent") + of("reset_received")
}

fn losses(metrics: &Metrics) -> u64 {
    metrics.sum("tcpwhy_records_lost_total", &[("stage", "ring")]).unwrap_or_default() as u64
}

/// Waits until `get` no longer grows.
fn settled(get: impl Fn() -> Result<u64>) -> Result<u64> {
    let mut last = get()?;
    loop {
        thread::sleep(Duration::from_millis(500));
        let now = get()?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
}

fn bpftrace() -> Result<Option<Stood>> {
    let netns = Netns::new();
    let Some(running) = Bpftrace::start(|| drop(load::refused(&netns, 1)))? else { return Ok(None) };
    let (before, cpu) = (settled(|| Ok(running.lines()))?, running.process().cpu()?);
    load::refused(&netns, EVENTS);
    let delivered = settled(|| Ok(running.lines()))? - before;
    let cpu = running.process().cpu()? - cpu;
    Ok(Some(Stood {
        cpu: cpu as f64 / delivered as f64,
        resident: running.process().resident()?,
        delivered: delivered as f64 / EVENTS as f64,
        losses: format!("{} lines about losses", running.losses_reported()),
    }))
}

fn compare(table: &mut Table, ours: &Stood, theirs: &Stood) {
    table.push(Row {
        what: "storm: CPU of a delivered record".to_owned(),
        reference: format!("{}, bpftrace", micros(theirs.cpu)),
        ours: micros(ours.cpu),
        ratio: Some(ours.cpu / theirs.cpu),
        budget: Some(BUDGET),
        why: WHY,
    });
    let delivered = |stood: &Stood| format!("{:.1} % ({})", stood.delivered * 100.0, stood.losses);
    table.push(Row {
        what: "storm: records delivered".to_owned(),
        reference: format!("{}, bpftrace", delivered(theirs)),
        ours: delivered(ours),
        ..Row::default()
    });
    table.push(Row {
        what: "resident memory after the storm".to_owned(),
        reference: format!("{:.1} MiB, bpftrace", theirs.resident as f64 / 1024.0),
        ours: format!("{:.1} MiB", ours.resident as f64 / 1024.0),
        ratio: Some(ours.resident as f64 / theirs.resident as f64),
        ..Row::default()
    });
}

fn micros(nanoseconds: f64) -> String {
    format!("{:.2} µs", nanoseconds / 1000.0)
}
