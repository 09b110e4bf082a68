//! A flood of SYNs that a rule drops: what hearing it costs, and whether its count is the rule's.

use std::time::{Duration, Instant};

use agent_common::signal;
use anyhow::{Context as _, Result};
use tests::flood::Flood;
use tests::link::Pair;

use crate::Subject;
use crate::agent::Agent;
use crate::noop::Noop;
use crate::table::{Row, Table, median};

/// Turns that each side gets.
const ROUNDS: usize = 5;
/// Packets of a turn.
const PACKETS: usize = 200_000;
/// Packets of the flood whose count is compared.
const FLOOD: usize = 1_000_000;

const WHY: &str = "a packet that is dropped at once costs the kernel little more than a lookup and a copy do";

/// Measures the cost, then the count.
pub fn measure(subject: &Subject, table: &mut Table) -> Result<()> {
    let pair = Pair::new();
    pair.server.command("nft add table inet flood");
    pair.server.command("nft add chain inet flood drops { type filter hook input priority 0 ; }");
    pair.server.command("nft add rule inet flood drops tcp dport 80 counter drop");
    let flood = Flood::new(&pair.client, &pair.server);
    let rounds = (0..ROUNDS).map(|_| round(subject, &flood)).collect::<Result<Vec<_>>>()?;
    let bare = median(rounds.iter().map(|round| round[0]).collect());
    for (side, name) in ["programs that do nothing", "agent, reading"].into_iter().enumerate() {
        table.push(Row {
            what: format!("flood of SYNs that a rule drops: {name}"),
            reference: format!("{bare:.0} ns a packet, nothing attached"),
            ours: format!("{:.0} ns", median(rounds.iter().map(|round| round[side + 1]).collect())),
            ratio: Some(median(rounds.iter().map(|round| round[side + 1] / round[0]).collect())),
            why: WHY,
            ..Row::default()
        });
    }
    count(subject, table, &pair, &flood)
}

/// Nanoseconds a packet with nothing, programs that do nothing, and the agent attached.
fn round(subject: &Subject, flood: &Flood) -> Result<[f64; 3]> {
    let bare = turn(flood);
    let noop = Noop::attach(subject)?;
    let nothing = turn(flood);
    drop(noop);
    let _agent = Agent::start(subject, &[])?;
    std::thread::sleep(Duration::from_millis(100));
    Ok([bare, nothing, turn(flood)])
}

fn turn(flood: &Flood) -> f64 {
    let start = Instant::now();
    flood.send(PACKETS);
    start.elapsed().as_nanos() as f64 / PACKETS as f64
}

fn count(subject: &Subject, table: &mut Table, pair: &Pair, flood: &Flood) -> Result<()> {
    let agent = Agent::start(subject, &[])?;
    let before = (agent.counted(&pair.server, signal::PACKET_DROPPED)?, counted_by_rule(pair)?);
    let cpu = agent.process().cpu()?;
    let start = Instant::now();
    flood.send(FLOOD);
    let time = start.elapsed();
    let heard = agent.counted(&pair.server, signal::PACKET_DROPPED)? - before.0;
    let rule = counted_by_rule(pair)? - before.1;
    table.push(Row {
        what: format!(
            "flood: drops counted, {:.2} million a second",
            FLOOD as f64 / time.as_secs_f64() / 1e6
        ),
        reference: format!("{rule}, the rule's counter"),
        ours: heard.to_string(),
        ratio: Some(heard as f64 / rule as f64),
        budget: Some(1.0),
        ..Row::default()
    });
    let used = agent.process().cpu()? - cpu;
    table.push(Row {
        what: "flood: the agent's own CPU, of one core".to_owned(),
        ours: format!("{:.1} %", 100.0 * used as f64 / time.as_nanos() as f64),
        ..Row::default()
    });
    Ok(())
}

fn counted_by_rule(pair: &Pair) -> Result<u64> {
    let rules = pair.server.command("nft list chain inet flood drops");
    let (_, rest) = rules.split_once("packets ").context("no counter")?;
    rest.split_whitespace().next().context("no number")?.parse().context("no number")
}
