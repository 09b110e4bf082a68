//! The wall clock is set while a connection stalls.

use jiff::{SignedDuration, Timestamp};
use nix::sys::time::{TimeSpec, TimeValLike as _};
use nix::time::{ClockId, clock_gettime, clock_settime};
use serde_json::Value;
use tests::agent::Agent;
use tests::agent::command::{self, Running};
use tests::agent::event::Event;
use tests::agent::tail::Tail;
use tests::foreseen::monotonic;
use tests::link::{Family, Loss, Pair};
use tests::tcp::{self, Connection, Side};
use tests::wait;

use crate::Alone;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Far less than [`HOUR`], and far more than a processor of an emulated guest waits for a busy host: between two lines
/// of one connection, of the agent's reading of two clocks, and of a timer.
const SLACK: SignedDuration = SignedDuration::from_secs(10);

/// The wall clock, set; set back at the end.
struct Set(SignedDuration);

impl Set {
    fn by(step: SignedDuration) -> Self {
        set(step);
        Self(step)
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        set(-self.0);
    }
}

fn set(step: SignedDuration) {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).expect("read the clock");
    let step = TimeSpec::nanoseconds(i64::try_from(step.as_nanos()).expect("hours"));
    clock_settime(ClockId::CLOCK_REALTIME, now + step).expect("set the clock");
}

fn time(of: &Value) -> Timestamp {
    of.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no time in {of}"))
}

fn time_of(event: &Event) -> Timestamp {
    time(event.find("/time").expect("a time"))
}

fn since_boot(event: &Event) -> i64 {
    event.number("/monotonic_ns").cast_signed()
}

/// A stall of `side` with a deadline, of an event after `from`.
fn stall(tail: &Tail, side: Side, from: i64) -> Event {
    tail.wait_for("a stall", |event| {
        let is_stall = event.is("diagnosis", side) && event.find("/outlook/deadline").is_some();
        is_stall && since_boot(event) > from
    })
}

#[test]
fn an_hour_forward_moves_times_and_nothing_else() {
    a_step("an_hour_forward_moves_times_and_nothing_else", HOUR);
}

#[test]
fn an_hour_back_moves_times_and_nothing_else() {
    a_step("an_hour_back_moves_times_and_nothing_else", -HOUR);
}

fn a_step(test: &str, step: SignedDuration) {
    let Some(agent) = Alone::new(test) else { return };
    let pair = Pair::without_probes();
    pair.client.sysctl("ipv4.tcp_retries2", 4);
    let tail = agent.tail(&pair.client);
    let connection = Connection::open(&pair, Family::V4);
    let side = connection.client_side;
    pair.server.drop_incoming(&Loss::data());
    tcp::send(&connection.client, 1000);

    let before = stall(&tail, side, 0);
    let _set = Set::by(step);
    let at = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("read the clock").num_nanoseconds();
    let after = stall(&tail, side, at);
    let between = SignedDuration::from_nanos(since_boot(&after) - since_boot(&before));
    let moved = time_of(&after).duration_since(time_of(&before)) - between;
    assert!((moved - step).abs() < SLACK, "{moved} for {step}");

    assert_eq!(tcp::death(&connection.client), libc::ETIMEDOUT);
    let died = |event: &Event| event.is("diagnosis", side) && event.text("/phase") == "died";
    let end = tail.wait_for("the end", died);
    for stall in [&before, &after] {
        let [earliest, latest] = ["earliest", "latest"].map(|limit| monotonic(stall, limit));
        let (end, slack) = (since_boot(&end), SLACK.as_nanos() as i64);
        assert!(earliest - slack <= end && end <= latest + slack, "{end} of {earliest} to {latest}");
    }
    a_report_is_of_the_new_clock(&agent, side);
    nothing_is_hidden(&agent, side, &before);
    let error = agent.metrics().sum("tcpwhy_deadline_error_seconds_sum", &[]).expect("a deadline held");
    assert!(error.abs() < SLACK.as_secs_f64(), "{error} s beside the deadline");
}

/// In order, and all of it within the last minutes.
fn a_report_is_of_the_new_clock(agent: &Agent, side: Side) {
    let socket = agent.socket().to_str().expect("plain text");
    let (end, port) = (side.local.to_string(), side.remote.port().to_string());
    let output = command::run(&["why", &end, "--port", &port, "-o", "json", "--socket", socket]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let timeline = report["timeline"].as_array().expect("a timeline");
    let times: Vec<_> = timeline.iter().map(|entry| time(&entry["time"])).collect();
    assert!(times.len() > 2 && times.is_sorted(), "{report:#}");
    let age = Timestamp::now().duration_since(times[0]);
    assert!(age > SignedDuration::ZERO && age < HOUR / 2, "{age}: {report:#}");
}

/// `--since` finds what was stamped by the clock as it was, in the order in which it happened.
fn nothing_is_hidden(agent: &Agent, side: Side, before: &Event) {
    let socket = agent.socket().to_str().expect("plain text");
    let replayed = Running::start(&["tail", "--since", "1m", "-o", "json", "--socket", socket]);
    let (mut last, mut found) = (0, false);
    while let Some(line) = replayed.next_within(wait::PATIENCE) {
        let event = Event::parse(&line);
        if !event.is_of(side) {
            continue;
        }
        let at = event.number("/monotonic_ns");
        assert!(at >= last, "{line}");
        (last, found) = (at, found || at == before.number("/monotonic_ns"));
        if event.name() == "diagnosis" && event.text("/phase") == "died" {
            assert!(found, "nothing from before the step");
            return;
        }
    }
    panic!("the end is not among what is remembered");
}
