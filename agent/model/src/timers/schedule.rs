//! The textbook's schedule: what a setting means, before any socket has it.

use std::time::Duration;

use serde::Serialize;

use super::Rule;
use super::clock::{Clock, Span, Wheel};
use super::keepalive::Keepalive;
use super::life::{Life, Retransmission};
use super::policy::{Limit, Policy, TCP_TIMEOUT_INIT_SECS, hypothetical_timeout, model_timeout};
use super::synack::Synack;

/// Jiffies are ms here, so that every duration of the kernel's interface is exact.
const HZ: u32 = 1000;

/// What a schedule is made from.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// The RTO when the peer falls silent.
    pub rto: Duration,
    /// `rto_max`.
    pub rto_max: Duration,
    /// `TCP_USER_TIMEOUT`.
    pub user_timeout: Option<Duration>,
    /// The sysctl.
    pub limit: Limit,
}

impl Params {
    /// A SYN's: its first RTO is `TCP_TIMEOUT_INIT`.
    pub fn syn(retries: u8, linear: u8, rto_max: Duration, user_timeout: Option<Duration>) -> Self {
        let rto = Duration::from_secs(TCP_TIMEOUT_INIT_SECS);
        Self { rto, rto_max, user_timeout, limit: Limit::Syn { retries, linear } }
    }
}

/// One run of a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// From 1. The n-th run sends the n-th retransmission or probe, except the last, which gives up.
    pub n: u32,
    /// What the timer was armed for.
    pub rto: Duration,
    /// Since the first transmission (keepalive: since the peer's last segment).
    pub elapsed: Duration,
}

/// The runs of a timer, up to the one that gives up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Schedule {
    /// In order, the one that gives up included.
    pub steps: Vec<Step>,
    /// What ends it.
    pub rule: Rule,
    /// When the kernel gives up, from the first transmission: the earliest and the latest instant.
    pub gives_up: (Duration, Duration),
}

impl Schedule {
    fn new(life: &Life, clock: &Clock) -> Self {
        let duration = |ns: i64| Duration::from_nanos(ns.max(0) as u64);
        let (rule, death) = life.death.unwrap_or((Rule::None, Span::exact(i64::MAX)));
        let steps = life.firings.iter().zip(1..).map(|(firing, n)| Step {
            n,
            rto: duration(firing.timeout as i64 * clock.tick()),
            elapsed: duration(firing.at.early),
        });
        Self { steps: steps.collect(), rule, gives_up: (duration(death.early), duration(death.late)) }
    }

    /// Retransmissions or probes sent before the kernel gives up.
    pub fn sent(&self) -> usize {
        self.steps.len().saturating_sub(1)
    }
}

/// What a connection does whose peer falls silent right after a transmission, on timers that run on the
/// dot: retransmissions from `rto`, doubling up to `rto_max`, until the kernel's test says stop.
pub fn schedule(params: &Params) -> Schedule {
    live(params, Clock::at_zero(HZ, Wheel::Exact))
}

/// The same with the rounding of the timer wheel of a kernel of `hz`, whatever jiffies happen to be:
/// the steps are the earliest ones.
pub fn rounded_schedule(params: &Params, hz: u32) -> Schedule {
    live(params, Clock::at_zero(hz, Wheel::Unaligned))
}

fn live(params: &Params, clock: Clock) -> Schedule {
    let jiffies = |duration: Duration| clock.msecs_to_jiffies(duration.as_millis() as u64);
    let policy = Policy {
        hz: clock.hz(),
        rto_max: jiffies(params.rto_max) as u32,
        user_timeout: params.user_timeout.map_or(0, |timeout| timeout.as_millis() as u32),
        limit: params.limit,
        thin: None,
    };
    let rto = jiffies(params.rto).min(policy.rto_max.into());
    // A SYN's stamp is its first transmission (`tcp_connect`), data's the first retransmission.
    let stamp = match params.limit {
        Limit::Syn { .. } => Some(clock.rounded_stamp(Span::exact(0))),
        Limit::Retries2(_) | Limit::Orphan { .. } => None,
    };
    let fires = clock.arm(Span::exact(0), (rto, rto));
    let start = Retransmission { rto: rto as u32, retransmits: 0, stamp, fires, usec: false };
    Schedule::new(&start.live(&policy, &clock), &clock)
}

/// The steps of T(N): N retransmissions and the wait after the last, from the kernel's constant 200 ms.
/// The last `elapsed` is [`hypothetical_timeout`].
pub fn hypothetical(retries: u8, rto_max: Duration) -> Vec<Step> {
    let total = |n: u32| u8::try_from(n).map_or(Duration::ZERO, |n| hypothetical_timeout(n, rto_max));
    let before = |n: u32| n.checked_sub(1).map_or(Duration::ZERO, total);
    (0..=u32::from(retries))
        .map(|n| Step { n: n + 1, rto: total(n).saturating_sub(before(n)), elapsed: total(n) })
        .collect()
}

/// SYN-ACKs of a half-open connection of a listener whose queue is not crowded.
pub fn synack(retries: u8, rto_max: Duration) -> Schedule {
    let clock = Clock::at_zero(HZ, Wheel::Exact);
    let rto_max = rto_max.as_millis() as u32;
    let fires = clock.arm(Span::exact(0), (u64::from(HZ), u64::from(HZ)));
    let first = Synack { timeouts: 0, retries: retries.into(), rto_max, syn_queue: 0, backlog: 0, fires };
    Schedule::new(&first.live(&clock), &clock)
}

/// Keepalive of an idle connection.
pub fn keepalive(time: Duration, intvl: Duration, probes: u8, user_timeout: Option<Duration>) -> Schedule {
    let clock = Clock::at_zero(HZ, Wheel::Exact);
    let (time, intvl) = (time.as_millis() as u64, intvl.as_millis() as u64);
    let user_timeout = user_timeout.map_or(0, |timeout| timeout.as_millis() as u32);
    let fires = clock.arm(Span::exact(0), (time, time));
    let first = Keepalive { time, intvl, probes: probes.into(), user_timeout, probes_out: 0, last: 0, fires };
    Schedule::new(&first.live(&clock), &clock)
}

/// The largest `tcp_retries2` with which a connection, whatever its RTO within `rtos`, is given up no
/// later than `within` after the first transmission, timer wheel included; `None` if 0 is too much.
pub fn retries2_within(
    within: Duration,
    rtos: (Duration, Duration),
    rto_max: Duration,
    hz: u32,
) -> Option<u8> {
    (0..=u8::MAX).take_while(|&retries| longest(retries, rtos, rto_max, hz) <= within).last()
}

/// The latest instant of death over all RTOs of the range, each a jiffy apart.
pub fn longest(retries: u8, rtos: (Duration, Duration), rto_max: Duration, hz: u32) -> Duration {
    let tick = Duration::from_secs(1) / hz.max(1);
    let mut longest = Duration::ZERO;
    let mut rto = rtos.0;
    loop {
        let params = Params { rto, rto_max, user_timeout: None, limit: Limit::Retries2(retries) };
        longest = longest.max(rounded_schedule(&params, hz).gives_up.1);
        if rto >= rtos.1 {
            return longest;
        }
        rto = (rto + tick).min(rtos.1);
    }
}

/// What T(N) is for a SYN, from its base of 1 s.
pub fn hypothetical_syn(retries: u8, rto_max: Duration) -> Duration {
    let base = TCP_TIMEOUT_INIT_SECS * 1000;
    Duration::from_millis(model_timeout(retries.into(), base, rto_max.as_millis() as u64))
}
