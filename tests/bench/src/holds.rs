//! How long questions hold the pipeline while a storm goes on: meanwhile it takes no events.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use tests::netns::Netns;

use crate::Subject;
use crate::agent::{Agent, UNLIMITED};
use crate::load;
use crate::table::{Row, Table};

/// Connects to a closed port: as many dead connections as are remembered, and more.
const EVENTS: usize = 150_000;
/// What is asked, each by somebody who asks nothing else: those for families wait for a walk over open files.
const QUESTIONS: [&str; 4] = ["/v1/why", "/v1/top", "/v1/families", "/v1/advise"];

/// Measures all.
pub fn measure(subject: &Subject, table: &mut Table) -> Result<()> {
    let options = [UNLIMITED, &["--log", "debug"]].concat();
    let (agent, netns) = (Agent::start(subject, &options)?, Netns::new());
    // Something to tell.
    load::refused(&netns, 10);
    thread::sleep(Duration::from_millis(500));
    let done = AtomicBool::new(false);
    let asked = thread::scope(|scope| {
        let asking = QUESTIONS.map(|question| scope.spawn(|| ask(&done, || agent.ask(question).map(drop))));
        let scraping = scope.spawn(|| ask(&done, || agent.scrape().map(drop)));
        load::refused(&netns, EVENTS);
        done.store(true, Ordering::Relaxed);
        let asked = asking.into_iter().chain([scraping]).map(|one| one.join().expect("who asks to end"));
        asked.sum::<Result<usize>>()
    })?;
    let holds = agent.holds()?;
    let longest = holds.iter().map(|(_, longest)| *longest).fold(0.0, f64::max);
    let each: Vec<_> = holds.iter().map(|(what, longest)| format!("{what} {longest:.1}")).collect();
    table.push(Row {
        what: format!("storm of {EVENTS} connects: longest hold of the pipeline, {asked} questions (ms)"),
        ours: each.join(", "),
        ratio: Some(longest),
        ..Row::default()
    });
    Ok(())
}

/// Asks until `done`; how often.
fn ask(done: &AtomicBool, question: impl Fn() -> Result<()>) -> Result<usize> {
    let mut asked = 0;
    while !done.load(Ordering::Relaxed) {
        question()?;
        asked += 1;
    }
    Ok(asked)
}
