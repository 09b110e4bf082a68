//! A processor goes and comes back while events flow.

use std::fs;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use tests::agent::event::Event;
use tests::link::{Family, Pair};
use tests::scenes::{reset, retransmit};
use tests::snmp::Meter;
use tests::wait;

use crate::Alone;

const SECOND: &str = "/sys/devices/system/cpu/cpu1/online";

/// The second processor, off; on again at the end.
struct Off;

impl Off {
    fn new() -> Self {
        fs::write(SECOND, "0").expect("take a processor offline");
        Self
    }
}

impl Drop for Off {
    fn drop(&mut self) {
        fs::write(SECOND, "1").expect("bring a processor online");
    }
}

/// From now on on this processor, with the threads that are started.
fn run_on(cpu: usize) {
    let mut cpus = CpuSet::new();
    cpus.set(cpu).expect("few processors");
    sched_setaffinity(Pid::from_raw(0), &cpus).expect("run on one processor");
}

/// Resets of each part of the test.
const COUNT: u64 = 300;

#[test]
fn counters_stay_exact_when_a_processor_goes_and_comes() {
    let test = "counters_stay_exact_when_a_processor_goes_and_comes";
    let Some(agent) = Alone::new(test) else { return };
    let (pair, before) = (Pair::new(), agent.metrics());
    let tail = agent.tail(&pair.server);
    let meters = [Meter::new(&pair.client), Meter::new(&pair.server)];
    let burst = || reset::burst(&pair, Family::V4, COUNT);

    // What the second processor has counted and kept outlasts it.
    run_on(1);
    burst();
    let off = Off::new();
    burst();
    // Timers that began on one processor and end on another.
    let _open = retransmit::timeouts(&pair, Family::V6, 2);
    drop(off);
    run_on(1);
    burst();

    let of_kernel = |counter: &str| meters.iter().map(|meter| meter.get(counter)).sum::<u64>();
    let now = agent.metrics();
    let grown = |name: &str| now.count(name, &[]) - before.sum(name, &[]).unwrap_or_default() as u64;
    assert_eq!(grown("tcpwhy_retransmitted_segments_total"), of_kernel("TcpRetransSegs"));
    // Before 6.10 no program sees resets that no full socket sends; their receivers do.
    assert_eq!(grown("tcpwhy_resets_received_total"), 3 * COUNT);
    if grown("tcpwhy_resets_sent_total") > 0 {
        assert_eq!(grown("tcpwhy_resets_sent_total"), of_kernel("TcpOutRsts"));
        let mut reported = 0;
        wait::until("a line for each reset, or one that stands for it", || {
            reported += tail.received().iter().map(stands_for).sum::<u64>();
            reported == 3 * COUNT
        });
    }
    assert_eq!(grown("tcpwhy_records_lost_total"), 0);
}

/// Resets that a line stands for.
fn stands_for(event: &Event) -> u64 {
    match event.name() {
        "reset_sent" => event.stands_for(),
        "coalesced" if event.text("/signal") == "reset_sent" => event.number("/count"),
        _ => 0,
    }
}
