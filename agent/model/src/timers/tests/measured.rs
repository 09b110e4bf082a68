//! Lives measured on 6.18.44 at HZ=250, one 100-byte segment, from `send()` to `ETIMEDOUT`.

use std::time::Duration;

use super::super::clock::MILLISECOND;
use super::super::policy::{Limit, hypothetical_timeout};
use super::super::schedule::{Params, rounded_schedule};
use super::super::{Era, Facts, Moment, Outlook, outlook};
use super::sockets::{HZ, established};
use crate::event::TcpState;

/// (`tcp_retries2`, R in ms, tail loss probe, `rto_max` in s, retransmissions, died after ms)
const LAB: [(u8, u64, bool, u64, u32, u64); 12] = [
    (0, 204, false, 120, 1, 617),
    (1, 204, false, 120, 2, 1462),
    (2, 204, false, 120, 3, 3135),
    (3, 204, false, 120, 4, 6558),
    (3, 204, true, 120, 4, 6768),
    (4, 204, false, 120, 4, 6554),
    (5, 204, false, 120, 5, 13_080),
    (5, 204, true, 120, 5, 13_360),
    (5, 304, false, 120, 5, 19_850),
    (5, 1004, false, 120, 3, 15_330),
    (6, 204, false, 120, 6, 26_560),
    (8, 204, false, 1, 8, 7620),
];

/// Measured times are given to a hundredth of a second at worst; the reader wakes up after the kernel.
const READING: u64 = 10 * MILLISECOND as u64;

/// The rounding of timers below 131 s repeats with this many jiffies.
const ALIGNMENTS: u64 = 4096;

/// The prediction for a socket that has just sent, when jiffies are `jiffies`.
fn predict(row: (u8, u64, bool, u64, u32, u64), jiffies: u64) -> Outlook {
    let (retries2, rto, tail_loss_probe, rto_max, ..) = row;
    let rto = (rto * u64::from(HZ) / 1000) as u32;
    let mut tcp = established(jiffies);
    tcp.netns.retries2 = retries2;
    (tcp.raw.rto, tcp.raw.rto_max) = (rto, rto_max as u32 * HZ);
    tcp.raw.pending = if tail_loss_probe { 5 } else { 1 };
    tcp.raw.timer_expires = jiffies + u64::from(rto);
    let state = TcpState::Established;
    let (moment, era) = (Moment::Rest, Era::default());
    outlook(&Facts { time: 1_000_000_000, hz: HZ, state, moment, era, lrcvtime: None, tcp: &tcp })
}

#[test]
fn some_alignment_of_jiffies_predicts_each_measured_life() {
    for row in LAB {
        let died = 1_000_000_000 + row.5 * MILLISECOND as u64;
        let hits = (0..ALIGNMENTS).filter(|at| {
            let outlook = predict(row, 4_300_000_000 + at);
            let death = outlook.death.expect("data always ends");
            let near = death.earliest <= died + READING && died <= death.latest + READING;
            near && outlook.runs_left == row.4 + 1
        });
        assert!(hits.count() > 0, "{row:?}: never predicted");
    }
}

/// Where a timer may run just before or just after T(N), both outcomes are predicted: exact timers would pass
/// T(4) = 6.2 s after 6.12 s and T(8) = 7.4 s after 7.22 s, and it is the wheel that makes up the rest.
/// Nothing else leaves more open than the wheel's 256 ms, a jiffy and the softirq's lateness.
#[test]
fn no_alignment_leaves_the_outcome_open_but_near_the_limit() {
    let rounding = (256 + 4 + 8) * MILLISECOND as u64;
    let width = |row, at| predict(row, 4_300_000_000 + at).death.expect("data always ends").width();
    let open: Vec<_> =
        LAB.into_iter().filter(|&row| (0..ALIGNMENTS).any(|at| width(row, at) > rounding)).collect();
    assert_eq!(open, [LAB[5], LAB[11]]);
}

#[test]
fn the_unaligned_schedule_holds_each_measured_life() {
    for (retries2, rto, tail_loss_probe, rto_max, _, died) in LAB {
        let rto = Duration::from_millis(rto);
        let rto_max = Duration::from_secs(rto_max);
        let params = Params { rto, rto_max, user_timeout: None, limit: Limit::Retries2(retries2) };
        let (earliest, latest) = rounded_schedule(&params, HZ).gives_up;
        let probe = if tail_loss_probe { rto } else { Duration::ZERO };
        let died = Duration::from_millis(died);
        assert!(died + Duration::from_millis(14) >= earliest + probe, "{died:?} before {earliest:?}");
        assert!(died <= latest + probe + Duration::from_millis(14), "{died:?} after {latest:?}");
        assert!(died >= hypothetical_timeout(retries2, rto_max));
    }
}
