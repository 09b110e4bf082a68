//! What the agent foresees of a connection, and what comes.

use std::time::Duration;

use jiff::Timestamp;

use crate::agent::event::Event;
use crate::link::Pair;
use crate::live::{Watched, named};
use crate::scenes::death::Death;
use crate::tcp::Side;

/// The timer wheel's rounding at the stages of these scenes, and the slack of a busy machine.
const WIDTH: Duration = Duration::from_millis(600);

/// A death by a timer: what was foreseen of it, and what came.
#[derive(Debug)]
pub struct Foreseen {
    /// The side that died.
    pub side: Side,
    /// Its hosts.
    pub watched: Watched,
    end: Event,
    resends: usize,
    stalls: Vec<Event>,
}

impl Foreseen {
    /// Lets `scene` happen, waits for the cause and keeps what was said before.
    pub fn new(pair: Pair, scene: impl FnOnce(&Pair) -> Death, cause: &str) -> Self {
        let watched = Watched::new(pair);
        let side = scene(&watched.pair).side;
        let died = |event: &Event| event.is("diagnosis", side) && event.text("/phase") == "died";
        let events = watched.tail(side).until("the diagnosis of a death", died);
        let of_side: Vec<Event> = events.into_iter().filter(|event| event.is_of(side)).collect();
        let told = of_side.last().expect("the diagnosis");
        assert_eq!(told.text("/cause"), cause, "{told:#?}");
        let closes = |event: &&Event| event.find("/state_change/new").is_some_and(|state| state == "CLOSE");
        let end = of_side.iter().find(closes).expect("the end").clone();
        let resends = named(&of_side, "retransmit").len();
        let stalls = of_side.into_iter().filter(|event| event.find("/outlook/deadline").is_some()).collect();
        Self { side, watched, end, resends, stalls }
    }

    /// Asserts a prediction by `rule` at each resend, `least` or more, that each held, and that none leaves
    /// open more than the kernel's timers do.
    pub fn assert_held(&self, rule: &str, least: usize) {
        assert_eq!(self.stalls.len(), self.resends, "{:#?}", self.stalls);
        assert!(self.stalls.len() >= least, "{:#?}", self.stalls);
        let end = self.end.number("/monotonic_ns").cast_signed();
        for stall in &self.stalls {
            assert_eq!(stall.text("/outlook/deadline/rule"), rule);
            let [earliest, latest] = ["earliest", "latest"].map(|limit| monotonic(stall, limit));
            let width = Duration::from_nanos((latest - earliest).unsigned_abs());
            let stage = stall.number("/outlook/stage");
            eprintln!("{rule} stage {stage}: died {} µs of {width:?}", (end - earliest) / 1000);
            assert!((earliest..=latest).contains(&end), "died at {end}, stage {stage}: {stall:#?}");
            assert!(width <= WIDTH, "{width:?} at stage {stage}");
        }
    }
}

/// A limit of the deadline as `CLOCK_MONOTONIC` has it.
pub fn monotonic(stall: &Event, limit: &str) -> i64 {
    let nanos = |pointer: &str| stall.text(pointer).parse::<Timestamp>().expect("a time").as_nanosecond();
    let ahead = nanos(&format!("/outlook/deadline/{limit}")) - nanos("/time");
    stall.number("/monotonic_ns").cast_signed() + i64::try_from(ahead).expect("within centuries")
}
