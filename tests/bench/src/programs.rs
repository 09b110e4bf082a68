//! Nanoseconds an event of each program, with one that does nothing on the same hook at the same time.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use aya::sys::{Stats, enable_stats};
use tests::netns::Netns;

use crate::Subject;
use crate::agent::{Agent, Cost, UNLIMITED};
use crate::load::{self, Load, Stalled};
use crate::noop::Noop;
use crate::table::{Row, Table, median};

/// Rounds with the reader asleep, and as many with it reading.
const ROUNDS: usize = 7;
/// Events of a round. The longest records of as many fit the ring while nobody reads.
const EVENTS: usize = 2000;
/// Events of a storm: ten times as many as may have a record.
const STORM: usize = 40_000;
/// Connections that send again, and how often each does.
const STALLED: (usize, u64) = (800, 3);
/// Times a program that does nothing, for a record.
const BUDGET: f64 = 6.0;

const WHY: &str = "half of what a program that does nothing costs is the kernel's own timing of it; a record is \
    two or three look-ups in maps (the count, the socket's owner and totals, the limits), room in the ring and, of a full \
    socket, some hundred fields read at that instant, of a reset by its own side the kernel's stack too";

/// Programs by name, with what they may cost.
type Programs = &'static [(&'static str, Option<f64>)];

/// A load, and the programs that it is about. Only programs that write a record then have a budget.
const LOADS: [(&str, Load, Programs); 3] = [
    (
        "connect to a closed port",
        load::refused,
        &[
            ("reset_sent", Some(BUDGET)),
            ("reset_received", Some(BUDGET)),
            ("state_changed", None),
            ("sock_destroyed", None),
        ],
    ),
    ("aborted connection", load::aborted, &[("reset_sent", Some(BUDGET)), ("reset_received", Some(BUDGET))]),
    ("short connection", load::short, &[("state_changed", None), ("sock_destroyed", None)]),
];

/// Whether the agent reads while records come.
const READERS: [&str; 2] = ["asleep", "reading"];

type Costs = BTreeMap<String, Cost>;

/// Both sides of the comparison, attached.
struct Sides {
    noop: Noop,
    agent: Agent,
}

/// Measures all.
pub fn measure(subject: &Subject, table: &mut Table) -> Result<()> {
    // SockHeld: the kernel stops counting when it is closed, by a crash too.
    let _stats = enable_stats(Stats::RunTime).context("have the kernel time the programs")?;
    let sides = Sides { noop: Noop::attach(subject)?, agent: Agent::start(subject, UNLIMITED)? };
    let netns = Netns::new();
    for (what, load, programs) in LOADS {
        for reader in READERS {
            let rounds = (0..ROUNDS).map(|_| sides.round(reader, || drop(load(&netns, EVENTS))));
            report(table, what, reader, &rounds.collect::<Result<Vec<_>>>()?, programs);
        }
    }
    for reader in READERS {
        let mut stalled = Stalled::open(STALLED.0);
        let round = sides.round(reader, || stalled.resend(STALLED.1))?;
        report(table, "stalled connection", reader, &[round], &[("retransmit", Some(BUDGET))]);
    }
    drop(sides);
    storm(subject, table)
}

/// Most events of a storm get no record.
fn storm(subject: &Subject, table: &mut Table) -> Result<()> {
    let sides = Sides { noop: Noop::attach(subject)?, agent: Agent::start(subject, &[])? };
    let netns = Netns::new();
    for (what, load, programs) in LOADS.into_iter().take(2) {
        let round = sides.round(READERS[0], || drop(load(&netns, STORM)))?;
        report(table, &format!("storm, {what}"), READERS[0], &[round], programs);
    }
    Ok(())
}

impl Sides {
    /// What `load` costs on both sides, a pair for each program.
    fn round(&self, reader: &str, load: impl FnOnce()) -> Result<BTreeMap<String, [Cost; 2]>> {
        if reader == READERS[0] {
            self.agent.stop()?;
        }
        let before = self.costs()?;
        load();
        let after = self.costs()?;
        self.agent.go_on()?;
        let growth = |side: usize, name: &str| grown(&before[side], &after[side], name);
        Ok(before[0].keys().map(|name| (name.clone(), [growth(0, name), growth(1, name)])).collect())
    }

    fn costs(&self) -> Result<[Costs; 2]> {
        Ok([self.noop.costs()?, self.agent.costs()?])
    }
}

fn grown(before: &Costs, after: &Costs, name: &str) -> Cost {
    let get = |costs: &Costs| costs.get(name).copied().unwrap_or_default();
    get(after) - get(before)
}

fn report(
    table: &mut Table,
    what: &str,
    reader: &str,
    rounds: &[BTreeMap<String, [Cost; 2]>],
    programs: Programs,
) {
    for (name, budget) in programs {
        let side = |side: usize| median(rounds.iter().map(|round| round[*name][side].mean()).collect());
        let (noop, ours) = (side(0), side(1));
        table.push(Row {
            what: format!("`{name}`, {what}, reader {reader}"),
            reference: format!("{noop:.0} ns, does nothing"),
            ours: format!("{ours:.0} ns"),
            ratio: Some(ours / noop),
            why: WHY,
            // While the agent reads, waking it is in the number too.
            budget: budget.filter(|_| reader == READERS[0]),
        });
    }
}
