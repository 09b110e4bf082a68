//! What the agent predicts of a connection, and what happens.

use std::time::Duration;

use jiff::Timestamp;

use crate::agent::event::Event;
use crate::agent::{agent, command};
use crate::link::Pair;
use crate::live::{Silent, Watched, named};
use crate::scenes::death::{Death, Probed};
use crate::tcp::{self, Side};
use crate::wait;

/// The timer wheel's rounding at the stages of these scenes, and the slack of a busy machine.
const WIDTH: Duration = Duration::from_millis(600);

/// Timers of a busy machine wait for `ksoftirqd`, which waits for a processor: what is foreseen is when they are due.
pub const LATE: i64 = 2_000_000_000;

/// A death by a timer: what was foreseen of it, and what came.
#[derive(Debug)]
pub struct Foreseen {
    /// The side that died.
    pub side: Side,
    /// Its hosts.
    pub watched: Watched,
    end: Event,
    /// When the event of each resend happened, ns of `CLOCK_MONOTONIC`.
    resends: Vec<u64>,
    stalls: Vec<Event>,
}

impl Foreseen {
    /// Lets `scene` happen, waits for the cause and keeps what was said before.
    pub fn new(pair: Pair, scene: impl FnOnce(&Pair) -> Death, cause: &str) -> Result<Self, Silent> {
        let watched = Watched::new(pair);
        // The peer lives until the cause is reported: its end meets no socket any more, and the reset for it would be the
        // cause of a death that was not judged yet.
        let Death { side, peer: _peer, .. } = scene(&watched.pair);
        let died = |event: &Event| event.is("diagnosis", side) && event.text("/phase") == "died";
        let events = watched.tail(side).try_until(died)?;
        let of_side: Vec<Event> = events.into_iter().filter(|event| event.is_of(side)).collect();
        let diagnosis = of_side.last().expect("the diagnosis");
        assert_eq!(diagnosis.text("/cause"), cause, "{diagnosis:#?}");
        let closes = |event: &&Event| event.find("/state_change/new").is_some_and(|state| state == "CLOSE");
        let end = of_side.iter().find(closes).ok_or(Silent)?.clone();
        let resends =
            named(&of_side, "retransmit").into_iter().map(|event| event.number("/monotonic_ns")).collect();
        let stalls = of_side.into_iter().filter(|event| event.find("/outlook/deadline").is_some()).collect();
        Ok(Self { side, watched, end, resends, stalls })
    }

    /// Asserts a prediction by `rule` at each resend, `least` or more, that each held, and that none leaves
    /// open more than the kernel's timers do.
    pub fn assert_held(&self, rule: &str, least: usize) -> Result<(), Silent> {
        if self.resends.len() < least {
            return Err(Silent);
        }
        for resend in &self.resends {
            let is_foreseen = self.stalls.iter().any(|stall| stall.number("/monotonic_ns") == *resend);
            assert!(is_foreseen, "nothing foreseen at {resend}: {:#?}", self.stalls);
        }
        let end = self.end.number("/monotonic_ns").cast_signed();
        for stall in &self.stalls {
            assert_holds(stall, rule, end);
        }
        Ok(())
    }
}

/// Asks the agent again and again about a connection whose probes have no event, until it is dead; asserts a
/// prediction by `rule` in `least` or more answers, that each came true, and that it died of `cause`.
pub fn assert_probes_foreseen(
    scene: impl FnOnce(&Pair) -> Probed,
    cause: &str,
    rule: &str,
    least: usize,
) -> Result<(), Silent> {
    let watched = Watched::new(Pair::without_probes());
    let Probed { side, client, peer: _peer } = scene(&watched.pair);
    let mut sights = Vec::new();
    wait::until("the end", || {
        let answer = command::run(&["why", "-o", "json", "--socket", &socket(), &side.local.to_string()]);
        let report = answer.status.success().then(|| Event::parse(&String::from_utf8_lossy(&answer.stdout)));
        sights.extend(report.and_then(|report| report.part("/diagnosis")));
        tcp::state(&client) == tcp::CLOSE
    });
    let died = |event: &Event| event.is("diagnosis", side) && event.text("/phase") == "died";
    let events = watched.tail(side).try_until(died)?;
    let of_side: Vec<Event> = events.into_iter().filter(|event| event.is_of(side)).collect();
    assert_eq!(of_side.last().expect("the diagnosis").text("/cause"), cause, "{of_side:#?}");
    let end = of_side.iter().find(|event| ends(event)).ok_or(Silent)?.number("/monotonic_ns").cast_signed();
    sights.retain(|sight| sight.find("/outlook/deadline").is_some());
    // Two answers may come from one reading of the socket.
    sights.dedup_by_key(|sight| sight.number("/monotonic_ns"));
    assert!(sights.len() >= least, "{sights:#?}");
    for sight in &sights {
        assert_holds(sight, rule, end);
    }
    Ok(())
}

fn socket() -> String {
    agent().socket().to_str().expect("a path of plain text").to_owned()
}

/// The event at which the kernel has given up: a reset on its own initiative, or the change of state.
fn ends(event: &Event) -> bool {
    event.find("/reset/active").is_some_and(|active| active == true)
        || event.find("/state_change/new").is_some_and(|state| state == "CLOSE")
}

/// Ns by which a death may come before the prediction: two timers begin their work at different times after their ticks,
/// and the prediction takes the first one's for the tick itself. One death was seen 2.5 µs early.
const EARLY: i64 = 200_000;

/// That the kernel gave up at `end` as was foreseen at a sight, by `rule`.
fn assert_holds(stall: &Event, rule: &str, end: i64) {
    assert_eq!(stall.text("/outlook/deadline/rule"), rule, "{stall:#?}");
    let [earliest, latest] = ["earliest", "latest"].map(|limit| monotonic(stall, limit));
    let width = Duration::from_nanos((latest - earliest).unsigned_abs());
    let stage = stall.number("/outlook/stage");
    eprintln!("{rule} stage {stage}: died {} µs of {width:?}", (end - earliest) / 1000);
    let lasts = earliest - EARLY..=latest + LATE;
    assert!(lasts.contains(&end), "died at {end}, stage {stage}: {stall:#?}");
    assert!(width <= WIDTH, "{width:?} at stage {stage}");
}

/// A limit of the deadline as `CLOCK_MONOTONIC` has it.
pub fn monotonic(stall: &Event, limit: &str) -> i64 {
    let nanos = |pointer: &str| stall.text(pointer).parse::<Timestamp>().expect("a time").as_nanosecond();
    let ahead = nanos(&format!("/outlook/deadline/{limit}")) - nanos("/time");
    stall.number("/monotonic_ns").cast_signed() + i64::try_from(ahead).expect("within centuries")
}
