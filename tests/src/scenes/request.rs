//! Half-open connections.

use std::fs;
use std::thread;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::link::{Family, Host, Pair};
use crate::raw::{Forger, Segment, flags};
use crate::tcp::{self, Side};
use crate::wait;

/// Port that the forger speaks for.
const FORGED_PORT: u16 = 4343;

/// A request that its client never answered.
#[derive(Debug)]
pub struct Unanswered {
    /// The listener's side.
    pub side: Side,
    /// When it was seen last, and when no more, ns of `CLOCK_MONOTONIC`.
    pub ended: (i64, i64),
}

/// A SYN, and silence: the listener sends its SYN-ACK again as `tcp_synack_retries` says, then drops the
/// request without a word (`reqsk_timer_handler`).
pub fn unanswered(pair: &Pair, family: Family, synack_retries: u8) -> Unanswered {
    unanswered_while(pair, family, synack_retries, |_| ())
}

/// The same; the client sends its SYN once more, before the timer runs: the SYN-ACK goes out at once and the
/// timer starts anew (`tcp_check_req`), uncounted.
pub fn repeated(pair: &Pair, family: Family, synack_retries: u8) -> Unanswered {
    unanswered_while(pair, family, synack_retries, |again| {
        // Sooner than `tcp_invalid_ratelimit` (500 ms) it is not answered, later than 1 s the timer has run.
        thread::sleep(Duration::from_millis(600));
        again();
    })
}

/// The same; `meanwhile` may have the SYN sent again.
pub fn unanswered_while(
    pair: &Pair,
    family: Family,
    synack_retries: u8,
    meanwhile: impl FnOnce(&dyn Fn()),
) -> Unanswered {
    pair.server.sysctl("ipv4.tcp_synack_retries", synack_retries);
    let listener = tcp::listen(&pair.server, family, 128);
    let local = tcp::local_address(&listener);
    let remote = pair.client.socket_address(family, FORGED_PORT);
    let forger = Forger::new(&pair.client, remote, local);
    let send = || forger.send(&Segment { flags: flags::SYN, seq: 1000, ..Segment::default() });
    send();
    wait::until("the request", || requests(&pair.server) > 0);
    meanwhile(&send);
    let mut there = monotonic();
    let gone = wait::some("the end of the request", || {
        let now = monotonic();
        if requests(&pair.server) == 0 {
            return Some(monotonic());
        }
        there = now;
        None
    });
    Unanswered { side: Side { netns: pair.server.inode(), local, remote }, ended: (there, gone) }
}

/// Half-open connections of IPv4 (`SYN_RECV` is 3 in /proc/net/tcp).
fn requests(host: &Host) -> usize {
    let table = host.run(|| fs::read_to_string("/proc/thread-self/net/tcp").expect("read the table of TCP"));
    table.lines().filter(|line| line.split_whitespace().nth(3) == Some("03")).count()
}

fn monotonic() -> i64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("read the clock");
    time.tv_sec() * 1_000_000_000 + time.tv_nsec()
}
