//! Every worked number: T(N) for several bases, and what a connection does for several RTOs.

use std::time::Duration;

use super::super::Rule;
use super::super::policy::{Limit, hypothetical_timeout, model_timeout};
use super::super::schedule::{
    Params, hypothetical, hypothetical_syn, keepalive, longest, retries2_within, schedule, synack,
};

const RTO_MAX: Duration = Duration::from_mins(2);
const SHORT_RTO_MAX: Duration = Duration::from_secs(10);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// (`rto_base`, `rto_max`) in ms of the columns of [`MODEL`].
const MODEL_COLUMNS: [(u64, u64); 8] = [
    (200, 120_000),
    (200, 10_000),
    (201, 120_000),
    (300, 120_000),
    (1000, 120_000),
    (201, 10_000),
    (300, 10_000),
    (1000, 10_000),
];

/// T(N), s, for N from 0.
#[rustfmt::skip]
const MODEL: [[f64; 8]; 16] = [
    [0.2, 0.2, 0.201, 0.3, 1.0, 0.201, 0.3, 1.0],
    [0.6, 0.6, 0.603, 0.9, 3.0, 0.603, 0.9, 3.0],
    [1.4, 1.4, 1.407, 2.1, 7.0, 1.407, 2.1, 7.0],
    [3.0, 3.0, 3.015, 4.5, 15.0, 3.015, 4.5, 15.0],
    [6.2, 6.2, 6.231, 9.3, 31.0, 6.231, 9.3, 25.0],
    [12.6, 12.6, 12.663, 18.9, 63.0, 12.663, 18.9, 35.0],
    [25.4, 22.6, 25.527, 38.1, 127.0, 22.663, 28.9, 45.0],
    [51.0, 32.6, 51.255, 76.5, 247.0, 32.663, 38.9, 55.0],
    [102.2, 42.6, 102.711, 153.3, 367.0, 42.663, 48.9, 65.0],
    [204.6, 52.6, 205.623, 273.3, 487.0, 52.663, 58.9, 75.0],
    [324.6, 62.6, 325.623, 393.3, 607.0, 62.663, 68.9, 85.0],
    [444.6, 72.6, 445.623, 513.3, 727.0, 72.663, 78.9, 95.0],
    [564.6, 82.6, 565.623, 633.3, 847.0, 82.663, 88.9, 105.0],
    [684.6, 92.6, 685.623, 753.3, 967.0, 92.663, 98.9, 115.0],
    [804.6, 102.6, 805.623, 873.3, 1087.0, 102.663, 108.9, 125.0],
    [924.6, 112.6, 925.623, 993.3, 1207.0, 112.663, 118.9, 135.0],
];

/// R in ms of the columns of [`LIVES`] and [`SHORT_LIVES`].
const RTOS: [u64; 5] = [200, 201, 204, 300, 1000];

/// (RTO retransmissions, s from the first transmission to the end) for N from 0, `rto_max` 120 s.
#[rustfmt::skip]
const LIVES: [[(usize, f64); 5]; 16] = [
    [(1, 0.6), (1, 0.6), (1, 0.6), (1, 0.9), (1, 3.0)],
    [(2, 1.4), (2, 1.4), (2, 1.4), (1, 0.9), (1, 3.0)],
    [(3, 3.0), (3, 3.0), (3, 3.1), (2, 2.1), (1, 3.0)],
    [(4, 6.2), (4, 6.2), (4, 6.3), (3, 4.5), (2, 7.0)],
    [(5, 12.6), (5, 12.7), (5, 12.9), (4, 9.3), (3, 15.0)],
    [(6, 25.4), (6, 25.5), (5, 12.9), (5, 18.9), (3, 15.0)],
    [(7, 51.0), (7, 51.3), (6, 25.9), (6, 38.1), (4, 31.0)],
    [(8, 102.2), (7, 51.3), (7, 52.0), (7, 76.5), (5, 63.0)],
    [(9, 204.6), (8, 102.7), (8, 104.2), (8, 153.3), (6, 127.0)],
    [(10, 324.6), (9, 205.6), (9, 208.7), (9, 273.3), (7, 247.0)],
    [(11, 444.6), (10, 325.6), (10, 328.7), (10, 393.3), (8, 367.0)],
    [(12, 564.6), (11, 445.6), (11, 448.7), (11, 513.3), (9, 487.0)],
    [(13, 684.6), (12, 565.6), (12, 568.7), (12, 633.3), (10, 607.0)],
    [(14, 804.6), (13, 685.6), (13, 688.7), (13, 753.3), (11, 727.0)],
    [(15, 924.6), (14, 805.6), (14, 808.7), (14, 873.3), (12, 847.0)],
    [(16, 1044.6), (15, 925.6), (15, 928.7), (15, 993.3), (13, 967.0)],
];

/// The same with `rto_max` 10 s.
#[rustfmt::skip]
const SHORT_LIVES: [[(usize, f64); 5]; 16] = [
    [(1, 0.6), (1, 0.6), (1, 0.6), (1, 0.9), (1, 3.0)],
    [(2, 1.4), (2, 1.4), (2, 1.4), (1, 0.9), (1, 3.0)],
    [(3, 3.0), (3, 3.0), (3, 3.1), (2, 2.1), (1, 3.0)],
    [(4, 6.2), (4, 6.2), (4, 6.3), (3, 4.5), (2, 7.0)],
    [(5, 12.6), (5, 12.7), (5, 12.9), (4, 9.3), (3, 15.0)],
    [(6, 22.6), (6, 22.7), (5, 12.9), (5, 18.9), (3, 15.0)],
    [(7, 32.6), (7, 32.7), (6, 22.9), (6, 28.9), (4, 25.0)],
    [(8, 42.6), (8, 42.7), (7, 32.9), (7, 38.9), (5, 35.0)],
    [(9, 52.6), (9, 52.7), (8, 42.9), (8, 48.9), (6, 45.0)],
    [(10, 62.6), (10, 62.7), (9, 52.9), (9, 58.9), (7, 55.0)],
    [(11, 72.6), (11, 72.7), (10, 62.9), (10, 68.9), (8, 65.0)],
    [(12, 82.6), (12, 82.7), (11, 72.9), (11, 78.9), (9, 75.0)],
    [(13, 92.6), (13, 92.7), (12, 82.9), (12, 88.9), (10, 85.0)],
    [(14, 102.6), (14, 102.7), (13, 92.9), (13, 98.9), (11, 95.0)],
    [(15, 112.6), (15, 112.7), (14, 102.9), (14, 108.9), (12, 105.0)],
    [(16, 122.6), (16, 122.7), (15, 112.9), (15, 118.9), (13, 115.0)],
];

#[test]
fn the_model_is_the_kernels() {
    for (n, row) in (0u32..).zip(MODEL) {
        for ((base, max), seconds) in MODEL_COLUMNS.into_iter().zip(row) {
            assert_eq!(model_timeout(n, base, max), (seconds * 1000.0).round() as u64, "T({n}) of {base}");
        }
    }
    assert_eq!(hypothetical_timeout(15, RTO_MAX), ms(924_600));
    assert_eq!(hypothetical_timeout(8, RTO_MAX), ms(102_200));
    assert_eq!(hypothetical_syn(6, RTO_MAX), ms(127_000));
}

#[test]
fn jiffies_give_the_same_model() {
    for (n, row) in (0u32..).zip(MODEL) {
        for hz in [100, 250, 300, 1000] {
            let jiffies = model_timeout(n, hz / 5, 120 * hz);
            assert_eq!(jiffies * 1000 / hz, (row[0] * 1000.0).round() as u64, "T({n}) at HZ={hz}");
        }
    }
}

#[test]
fn sixteen_steps_of_the_default() {
    let steps = hypothetical(15, RTO_MAX);
    assert_eq!(steps.len(), 16);
    assert_eq!((steps[0].rto, steps[0].elapsed), (ms(200), ms(200)));
    assert_eq!((steps[9].rto, steps[9].elapsed), (ms(102_400), ms(204_600)));
    assert_eq!((steps[15].n, steps[15].rto, steps[15].elapsed), (16, ms(120_000), ms(924_600)));
}

fn data(retries: u8, rto: u64, rto_max: Duration) -> Params {
    Params { rto: ms(rto), rto_max, user_timeout: None, limit: Limit::Retries2(retries) }
}

fn check_lives(lives: &[[(usize, f64); 5]; 16], rto_max: Duration) {
    for (n, row) in (0u8..).zip(lives) {
        for (rto, &(sent, seconds)) in RTOS.into_iter().zip(row) {
            let life = schedule(&data(n, rto, rto_max));
            let died = life.gives_up.1.as_secs_f64();
            assert_eq!(life.sent(), sent, "N={n} R={rto}: died after {died}");
            assert!((died - seconds).abs() < 0.0501, "N={n} R={rto}: {died} s is not {seconds} s");
            assert_eq!((life.rule, life.gives_up.0), (Rule::TcpRetries2, life.gives_up.1));
        }
    }
}

#[test]
fn connections_live_as_long_as_tabled() {
    check_lives(&LIVES, RTO_MAX);
}

#[test]
fn connections_live_as_long_as_tabled_with_a_short_rto_max() {
    check_lives(&SHORT_LIVES, SHORT_RTO_MAX);
}

#[test]
fn more_retries_never_die_sooner_and_never_before_the_model() {
    for rto_max in [RTO_MAX, SHORT_RTO_MAX, ms(1000), ms(33_333)] {
        for rto in [5, 40, 199, 200, 202, 250, 777, 2500, 10_000, 120_000] {
            let mut last = Duration::ZERO;
            for n in 0..40 {
                let life = schedule(&data(n, rto, rto_max));
                let since_first_retransmission = life.gives_up.1.saturating_sub(life.steps[0].elapsed);
                assert!(since_first_retransmission >= hypothetical_timeout(n, rto_max));
                assert!(life.gives_up.1 >= last, "N={n} R={rto}");
                assert!(life.steps.windows(2).all(|pair| pair[0].rto <= pair[1].rto));
                last = life.gives_up.1;
            }
        }
    }
}

#[test]
fn a_doubling_too_few_takes_one_retransmission_more() {
    // R/200 ms must reach (2^(N+1)-1)/(2^(N+1)-2) to die after exactly N: N=3 214.3 ms, N=5 203.2 ms.
    for (n, rto) in [(3, 214), (5, 203), (8, 200)] {
        assert_eq!(schedule(&data(n, rto, RTO_MAX)).sent(), usize::from(n) + 1);
        assert_eq!(schedule(&data(n, rto + 1, RTO_MAX)).sent(), usize::from(n));
    }
}

fn syn(retries: u8, linear: u8) -> (Vec<u64>, u64, Rule) {
    let life = schedule(&Params::syn(retries, linear, RTO_MAX, None));
    let mut at: Vec<_> = life.steps.iter().map(|step| step.elapsed.as_secs()).collect();
    let died = at.pop().unwrap_or_default();
    (at, died, life.rule)
}

#[test]
fn syns_end_by_count_or_by_the_model() {
    let rule = Rule::TcpSynRetries;
    assert_eq!(syn(2, 0), (vec![1, 3], 7, rule));
    assert_eq!(syn(2, 4), (vec![1, 2, 3, 4, 5], 7, rule));
    assert_eq!(syn(1, 4), (vec![1, 2], 3, rule));
    assert_eq!(syn(6, 0), (vec![1, 3, 7, 15, 31, 63], 127, rule));
    assert_eq!(syn(6, 4), (vec![1, 2, 3, 4, 5, 7, 11, 19, 35, 67], 131, rule));
}

#[test]
fn a_user_timeout_is_punctual_and_replaces_the_rest() {
    let timeout = Some(ms(2500));
    let life = schedule(&Params::syn(6, 4, RTO_MAX, timeout));
    assert_eq!((life.sent(), life.gives_up.1, life.rule), (2, ms(2500), Rule::TcpUserTimeout));
    for retries in [0, 5, 15] {
        let life = schedule(&Params { user_timeout: timeout, ..data(retries, 204, RTO_MAX) });
        assert_eq!((life.gives_up.1, life.rule), (ms(2704), Rule::TcpUserTimeout));
    }
}

#[test]
fn orphans_get_eight_retries_unless_told() {
    let orphan =
        |retries| Params { limit: Limit::Orphan { retries, soft_error: false }, ..data(0, 204, RTO_MAX) };
    assert_eq!(schedule(&orphan(0)).gives_up, schedule(&data(8, 204, RTO_MAX)).gives_up);
    assert_eq!(schedule(&orphan(3)).gives_up, schedule(&data(3, 204, RTO_MAX)).gives_up);
    assert_eq!(schedule(&orphan(3)).rule, Rule::TcpOrphanRetries);
    // At rto_max it no longer counts as alive: 0 is 0 then, and an ICMP error makes any number 0.
    let at_max = |retries, soft_error| Params {
        limit: Limit::Orphan { retries, soft_error },
        ..data(0, 204, ms(204))
    };
    assert_eq!(schedule(&at_max(0, false)).sent(), 1);
    assert_eq!(schedule(&at_max(8, true)).sent(), 1);
    assert_eq!(schedule(&at_max(8, false)).sent(), 9);
}

#[test]
fn half_open_connections_and_idle_ones() {
    let life = synack(5, RTO_MAX);
    let at: Vec<_> = life.steps.iter().map(|step| step.elapsed.as_secs()).collect();
    assert_eq!((at, life.rule), (vec![1, 3, 7, 15, 31, 63], Rule::TcpSynackRetries));
    let life = keepalive(ms(7_200_000), ms(75_000), 9, None);
    assert_eq!((life.sent(), life.gives_up.1, life.rule), (9, ms(7_875_000), Rule::Keepalive));
    let life = keepalive(ms(1000), ms(1000), 9, Some(ms(2500)));
    assert_eq!((life.sent(), life.gives_up.1, life.rule), (2, ms(3000), Rule::TcpUserTimeout));
}

#[test]
fn backwards_is_the_inverse_of_forwards() {
    let rtos = (ms(201), ms(300));
    for (seconds, hz) in [(1, 250), (5, 1000), (30, 250), (30, 1000), (100, 250), (600, 100), (2000, 250)] {
        let within = Duration::from_secs(seconds);
        let retries = retries2_within(within, rtos, RTO_MAX, hz).expect("a second is enough for 0");
        assert!(longest(retries, rtos, RTO_MAX, hz) <= within);
        assert!(longest(retries + 1, rtos, RTO_MAX, hz) > within);
    }
    assert_eq!(retries2_within(ms(500), rtos, RTO_MAX, 250), None);
}
