//! A flood is reported by samples that add up to it, and hides nobody else's trouble.

use std::cell::Cell;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use tests::agent::command::Running;
use tests::agent::event::Event;
use tests::netns::Netns;
use tests::snmp::Meter;
use tests::wait;

/// Connects of a flood, each refused: a reset sent and one received.
const FLOOD: u16 = 30_000;

/// Far fewer than the flood has, on any number of CPUs that it may wander over.
const LIMITS: [&str; 4] = ["--storm-rate", "20", "--storm-burst", "20"];

/// One flood at a time: an unlimited reader gets all of them.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A `tail` of its own that is attached: it printed a refused connect.
fn started(marker: &Netns) -> Running {
    attached(marker, &LIMITS)
}

fn attached(marker: &Netns, options: &[&str]) -> Running {
    let tail = Running::start(&[&["tail", "--standalone", "-o", "json"], options].concat());
    wait::until("tail to be attached", || {
        refuse(marker, 1);
        let line = tail.next_within(Duration::from_millis(100));
        line.is_some_and(|line| Event::parse(&line).netns() == Some(marker.inode()))
    });
    tail
}

fn refuse(netns: &Netns, port: u16) {
    netns.run(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect_err("nobody listens"));
}

/// What the lines of a signal in a namespace add up to.
#[derive(Default)]
struct Tally {
    lines: Cell<u64>,
    events: Cell<u64>,
}

impl Tally {
    fn add(&self, event: &Event) {
        let count = if event.name() == "coalesced" { event.number("/count") } else { event.stands_for() };
        self.events.set(self.events.get() + count);
        self.lines.set(self.lines.get() + 1);
    }
}

/// Reads until the lines of `netns` add up to what the kernel counted.
fn read_all(tail: &Running, netns: &Netns, resets: u64, losses: &Cell<usize>) -> [Tally; 2] {
    let tallies = ["reset_sent", "reset_received"].map(|signal| (signal, Tally::default()));
    tail.wait_for("the last of the flood", |line| {
        let event = Event::parse(line);
        losses.set(losses.get() + usize::from(event.name() == "lost"));
        if event.netns() == Some(netns.inode()) {
            let signal = event.find("/signal").and_then(|word| word.as_str()).unwrap_or(event.name());
            tallies.iter().filter(|(word, _)| *word == signal).for_each(|(_, tally)| tally.add(&event));
        }
        tallies.iter().all(|(_, tally)| tally.events.get() >= resets)
    });
    tallies.map(|(_, tally)| tally)
}

fn flood(netns: &Netns, port: fn(u16) -> u16) -> u64 {
    let meter = Meter::new(netns);
    netns.run(|| {
        for n in 0..FLOOD {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port(n))).expect_err("nobody listens");
        }
    });
    meter.get("TcpOutRsts")
}

#[test]
fn a_flood_is_reported_by_samples_that_add_up() {
    let _alone = alone();
    let noisy = Netns::new();
    let marker = Netns::new();
    let tail = started(&marker);
    let resets = flood(&noisy, |_| 1);
    assert_eq!(resets, u64::from(FLOOD));
    for tally in read_all(&tail, &noisy, resets, &Cell::new(0)) {
        assert_eq!(tally.events.get(), resets, "no event is counted twice");
        assert!(tally.lines.get() < resets / 10, "{} lines", tally.lines.get());
    }
}

/// Every port is another source: what has no slot of its own is counted with its workload.
#[test]
fn a_flood_over_many_ports_adds_up_too() {
    let _alone = alone();
    let noisy = Netns::new();
    let tail = started(&Netns::new());
    // Below the ports that a client may get: one that connects to its own finds itself there.
    let resets = flood(&noisy, |n| n % 20_000 + 1);
    for tally in read_all(&tail, &noisy, resets, &Cell::new(0)) {
        assert_eq!(tally.events.get(), resets);
        assert!(tally.lines.get() < resets / 4, "{} lines", tally.lines.get());
    }
}

#[test]
fn a_rare_event_is_seen_through_another_namespace_s_flood() {
    let _alone = alone();
    let [noisy, quiet] = [Netns::new(), Netns::new()];
    let tail = started(&Netns::new());
    let (netns, is_over) = (noisy.inode(), Arc::new(AtomicBool::new(false)));
    let is_seen = Arc::clone(&is_over);
    let flooding = noisy.spawn(move || {
        while !is_seen.load(Ordering::Relaxed) {
            TcpStream::connect((Ipv4Addr::LOCALHOST, 1)).expect_err("nobody listens");
        }
    });
    let floods = Cell::new(0);
    tail.wait_for("the flood", |line| {
        let event = Event::parse(line);
        let is_flood = event.netns() == Some(netns) && event.name() == "reset_sent";
        floods.set(floods.get() + usize::from(is_flood));
        floods.get() > 20
    });
    refuse(&quiet, 1);
    // The flood ends only when this has come.
    tail.wait_for("the rare event", |line| {
        let event = Event::parse(line);
        event.netns() == Some(quiet.inode()) && event.name() == "reset_received"
    });
    is_over.store(true, Ordering::Relaxed);
    flooding.join().expect("the flood");
}

/// Whoever does not read loses lines, never events: the next line stands for them too.
#[test]
fn what_the_ring_loses_is_reported_and_counted_with_the_next() {
    let _alone = alone();
    let noisy = Netns::new();
    let tail = attached(&Netns::new(), &["--storm-rate", "0", "--ring-size", "64K"]);
    tail.signal(Signal::SIGSTOP);
    let meter = Meter::new(&noisy);
    (0..2000).for_each(|_| refuse(&noisy, 1));
    tail.signal(Signal::SIGCONT);
    let resets = meter.get("TcpOutRsts");
    let losses = Cell::new(0);
    let tallies = read_all(&tail, &noisy, resets, &losses);
    assert!(tallies.iter().all(|tally| tally.events.get() == resets && tally.lines.get() < resets));
    if losses.get() == 0 {
        tail.wait_for("a line about the loss", |line| Event::parse(line).name() == "lost");
    }
}
