//! How much slower a storm and a healthy host are, watched and unwatched in turn.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use tests::netns::Netns;

use crate::Subject;
use crate::agent::Agent;
use crate::load::{self, Load};
use crate::noop::Noop;
use crate::table::{Row, Table, median};

/// Turns that each side gets.
const ROUNDS: usize = 9;
/// Connects of a turn; the records of as many fit the ring.
const EVENTS: usize = 4000;
/// A twentieth.
const BUDGET: f64 = 1.05;

const LOADS: [(&str, Load, Option<f64>); 2] = [
    ("storm of connects to a closed port", load::refused, Some(BUDGET)),
    ("connect, accept, close", load::short, None),
];

const WHY: &str = "a refused connect runs five of the programs, and so does the whole of its life on loopback: a \
    client, a reset and its end in some 14 µs of one CPU";

/// What is attached, in the order of the turns.
const SIDES: [&str; 4] = ["nothing", "programs that do nothing", "agent, asleep", "agent, reading"];

/// Median nanoseconds of one connect, by load and side.
type Round = [[f64; SIDES.len()]; LOADS.len()];

/// Measures both loads.
pub fn measure(subject: &Subject, table: &mut Table) -> Result<()> {
    let rounds = (0..ROUNDS).map(|_| round(subject)).collect::<Result<Vec<_>>>()?;
    for (at, (what, _, budget)) in LOADS.into_iter().enumerate() {
        let bare = median(rounds.iter().map(|round| round[at][0]).collect());
        for (side, name) in SIDES.into_iter().enumerate().skip(1) {
            let time = median(rounds.iter().map(|round| round[at][side]).collect());
            // Of one round each: both sides had the same neighbours.
            let ratio = median(rounds.iter().map(|round| round[at][side] / round[at][0]).collect());
            table.push(Row {
                what: format!("{what}: {name}"),
                reference: format!("{:.2} µs, nothing attached", bare / 1000.0),
                ours: format!("{:.2} µs", time / 1000.0),
                ratio: Some(ratio),
                why: WHY,
                budget: budget.filter(|_| side == SIDES.len() - 1),
            });
        }
    }
    Ok(())
}

fn round(subject: &Subject) -> Result<Round> {
    let netns = Netns::new();
    let mut round = Round::default();
    turn(&netns, &mut round, 0);
    let noop = Noop::attach(subject)?;
    turn(&netns, &mut round, 1);
    drop(noop);
    let agent = Agent::start(subject, &[])?;
    thread::sleep(Duration::from_millis(100));
    for (at, (_, load, _)) in LOADS.into_iter().enumerate() {
        agent.stop()?;
        round[at][2] = median(load(&netns, EVENTS));
        agent.go_on()?;
    }
    turn(&netns, &mut round, 3);
    Ok(round)
}

fn turn(netns: &Netns, round: &mut Round, side: usize) {
    for (at, (_, load, _)) in LOADS.into_iter().enumerate() {
        round[at][side] = median(load(netns, EVENTS));
    }
}
