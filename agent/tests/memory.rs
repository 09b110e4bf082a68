//! What 50,000 troubled connections cost. A program of its own, so that its resident memory is theirs.

use std::net::SocketAddr;
use std::ops::Range;

use agent_common::record;
use agent_correlate::Correlator;
use agent_model::event::{
    Detail, Endpoint, Event, KernelEvent, Owner, OwnerSource, Process, RetransmitKind, Tcp, TcpFlags,
    TcpState,
};
use agent_model::limits::Limits;
use agent_model::signals::Retransmit;

const CONNECTIONS: u64 = 50_000;
const MIB: u64 = 1 << 20;

/// What they may not grow past: with the daemon's idle size, some 16 MiB, and as much for what waits in a storm,
/// all stays below the budget of 64 MiB for the whole.
const BUDGET: u64 = 32 * MIB;

#[test]
fn fifty_thousand_troubled_connections() {
    let mut correlator = Correlator::new(Limits::default());
    let idle = resident();
    for seconds in [0..1, 1..6, 6..20] {
        let bytes = cost(&mut correlator, seconds, idle);
        assert!(bytes < BUDGET, "{bytes} bytes");
    }
    assert_eq!(correlator.sizes().connections as u64, CONNECTIONS);
}

/// Gives every connection one timeout a second; returns and prints what all of them cost so far.
fn cost(correlator: &mut Correlator, seconds: Range<u64>, idle: u64) -> u64 {
    let (start, end) = (on_cpu(), seconds.end);
    let events = CONNECTIONS * (end - seconds.start);
    for (second, number) in seconds.flat_map(|second| (0..CONNECTIONS).map(move |number| (second, number))) {
        correlator.apply(Event::Kernel(Box::new(timeout(second, number))));
    }
    let nanos = (on_cpu() - start) / events;
    let bytes = resident() - idle;
    let entries = correlator.sizes().entries as u64 / CONNECTIONS;
    let each = bytes / CONNECTIONS;
    println!(
        "{end} events, {entries} entries, {each} bytes a connection, {} MiB, {nanos} ns an event",
        bytes / MIB
    );
    bytes
}

fn timeout(second: u64, number: u64) -> KernelEvent {
    let process = Process { pid: 1000, comm: "some-server".into() };
    KernelEvent {
        time: second * 1_000_000_000,
        stands_for: 1,
        endpoint: endpoint(number),
        current: None,
        owner: Some(Owner { process, source: OwnerSource::Connect }),
        detail: Detail::Retransmit(Retransmit {
            kind: RetransmitKind::Timeout,
            err: 0,
            segments: 1,
            seq: 0,
            end_seq: 1448,
            tcp_flags: TcpFlags(16),
        }),
        tcp: Some(tcp(second as u8 + 1)),
    }
}

fn endpoint(number: u64) -> Endpoint {
    let [a, b, c, ..] = number.to_le_bytes();
    Endpoint {
        sk: Some(0xffff_8880_0000_0000 + number * 2048),
        cookie: Some(number + 1),
        cgroup: Some(1),
        netns: 1,
        uid: Some(0),
        local: SocketAddr::from(([10, 1, 0, 1], 30_000)),
        remote: SocketAddr::from(([10, c, b, a], 443)),
        mapped: false,
        state: Some(TcpState::Established),
        protocol: 6,
        time_wait: false,
        request: false,
    }
}

fn tcp(retransmits: u8) -> Tcp {
    let raw = record::Tcp { retransmits, rto: 51, has_socket: 1, ..Default::default() };
    Tcp { raw, netns: record::Netns::default(), totals: record::Totals::default() }
}

/// Time that this thread has spent on a CPU, ns.
fn on_cpu() -> u64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    schedstat.split_whitespace().next().unwrap().parse().unwrap()
}

/// Resident memory of this process, bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
