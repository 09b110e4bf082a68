//! Jiffies, nanoseconds and the timer wheel between them.
//!
//! A timer armed for `expires` runs in the first tick at or after its bucket of the wheel
//! (kernel/time/timer.c, `calc_wheel_index`, `calc_index`; the same since 4.8): up to 63 jiffies ahead
//! one jiffy later, further ahead rounded up to the level's granularity of 8^n jiffies, always past
//! `expires`. The buckets are aligned to absolute jiffies, so a record that carries `jiffies` makes the
//! rounding computable and not a matter of chance.

use serde::{Deserialize, Serialize};

/// ns in a second.
pub const SECOND: i64 = 1_000_000_000;
/// ns in a millisecond, the unit of `retrans_stamp` and of the timeouts it is compared with.
pub const MILLISECOND: i64 = 1_000_000;

/// How long after its tick a timer's function may start, ns: less than two ticks of HZ=250.
///
/// The softirq runs on return from the tick's interrupt, before any task, mostly within 0.1 ms. It is
/// later when softirqs have had their share (`MAX_SOFTIRQ_TIME`, 2 ms) and `ksoftirqd` must wait for
/// its turn among the tasks (a slice of about 3 ms), or when a hypervisor runs another guest. 5 ms were
/// seen on two cores with a load of seven. A timer so late arms the next one later, which can take
/// that into the next bucket; hence not more than needed.
pub const SOFTIRQ_LATENESS: i64 = 8 * MILLISECOND - 1;

/// Instants of a record are taken to lie within this of it, ns: 36 years. A record that says otherwise is
/// wrong, and differences of its instants must still fit.
const FAR: i64 = 1 << 60;

const LVL_BITS: u32 = 6;
const LVL_CLK_SHIFT: u32 = 3;
const LVL_SIZE: u64 = 1 << LVL_BITS;

/// An interval of `CLOCK_MONOTONIC`, ns, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Not before.
    pub earliest: u64,
    /// Not after.
    pub latest: u64,
}

impl Window {
    /// Whether `time` lies within.
    pub fn contains(&self, time: u64) -> bool {
        (self.earliest..=self.latest).contains(&time)
    }

    /// Uncertainty, ns.
    pub fn width(&self) -> u64 {
        self.latest - self.earliest
    }

    /// How far `time` lies outside, ns: negative before, 0 within.
    pub fn error(&self, time: u64) -> i64 {
        let before = (time as i64).saturating_sub(self.earliest as i64).min(0);
        before + (time as i64).saturating_sub(self.latest as i64).max(0)
    }
}

/// An interval of ns, counted from the start of the jiffy in which the facts were read. That origin
/// keeps apart what is exact (differences between timers) from what is not (how far into its jiffy the
/// record was taken), which only [`Clock::window`] adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Not before.
    pub early: i64,
    /// Not after.
    pub late: i64,
}

impl Span {
    /// No uncertainty.
    pub fn exact(at: i64) -> Self {
        Self { early: at, late: at }
    }

    /// Both ends later by `ns`.
    #[must_use]
    pub fn after(self, ns: i64) -> Self {
        Self { early: self.early.saturating_add(ns), late: self.late.saturating_add(ns) }
    }

    /// The smallest interval that holds both.
    #[must_use]
    pub fn hull(self, other: Self) -> Self {
        Self { early: self.early.min(other.early), late: self.late.max(other.late) }
    }

    /// What of these instants is at or past `limit`, and what is not.
    pub fn split(self, limit: Self) -> (Option<Self>, Option<Self>) {
        let past = Self { early: self.early.max(limit.early), late: self.late };
        let before = Self { early: self.early, late: self.late.min(limit.late.saturating_sub(1)) };
        (past.existing(), before.existing())
    }

    fn existing(self) -> Option<Self> {
        (self.early <= self.late).then_some(self)
    }
}

/// What timers are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wheel {
    /// No rounding, no lateness: the textbook's timers.
    Exact,
    /// The kernel's wheel at known jiffies.
    Aligned,
    /// The kernel's wheel when jiffies are not known: any rounding the level may bring.
    Unaligned,
}

/// Translates between jiffies and `CLOCK_MONOTONIC`. Jiffies are driven by that very clock
/// (kernel/time/tick-sched.c, `tick_do_update_jiffies64`), so the two do not drift apart.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    time: u64,
    jiffies: u64,
    hz: u32,
    wheel: Wheel,
}

impl Clock {
    /// Facts read at `time` ns of `CLOCK_MONOTONIC`, when `jiffies_64` was `jiffies`.
    pub fn new(time: u64, jiffies: u64, hz: u32) -> Self {
        Self { time, jiffies, hz: hz.max(1), wheel: Wheel::Aligned }
    }

    /// Starts at 0 with a tick of `1/hz` s and timers rounded as `wheel` says.
    pub fn at_zero(hz: u32, wheel: Wheel) -> Self {
        Self { wheel, ..Self::new(0, 0, hz) }
    }

    /// Ticks a second.
    pub fn hz(&self) -> u32 {
        self.hz
    }

    /// ns of a jiffy.
    pub fn tick(&self) -> i64 {
        SECOND / i64::from(self.hz)
    }

    /// Jiffies of a span of ms, rounded up like `msecs_to_jiffies`.
    pub fn msecs_to_jiffies(&self, ms: u64) -> u64 {
        ms.saturating_mul(u64::from(self.hz)).div_ceil(1000)
    }

    /// Now, somewhere in its jiffy; a timer's function near the start of it.
    pub fn now(&self, in_timer: bool) -> Span {
        let in_jiffy = self.phase() - 1;
        Span { early: 0, late: if in_timer { in_jiffy.min(self.lateness()) } else { in_jiffy }.max(0) }
    }

    /// A past instant given in jiffies.
    pub fn instant(&self, jiffies: u64) -> i64 {
        (jiffies.wrapping_sub(self.jiffies) as i64).saturating_mul(self.tick()).clamp(-FAR, FAR)
    }

    /// A past instant given by the low 32 bits of jiffies (`tcp_jiffies32`).
    pub fn instant32(&self, jiffies: u32) -> i64 {
        i64::from(jiffies.wrapping_sub(self.jiffies as u32) as i32).saturating_mul(self.tick())
    }

    /// A past instant given by a wrapping count of `unit` ns of `CLOCK_MONOTONIC`
    /// (`tcp_time_stamp_ts`: ms, or µs with `tcp_usec_ts`).
    pub fn stamp(&self, stamp: u32, unit: u64) -> Span {
        let ago = ((self.time / unit) as u32).wrapping_sub(stamp) as i32;
        let at = -i64::from(ago) * unit as i64 - (self.time % unit) as i64;
        Span { early: at, late: at + self.phase() }
    }

    /// The stamp that `tcp_time_stamp_ts` takes at one of the instants of `span`: rounded down to a ms.
    pub fn rounded_stamp(&self, span: Span) -> Span {
        let lost = if self.wheel == Wheel::Exact { 0 } else { MILLISECOND - 1 };
        Span { early: span.early - lost, late: span.late }
    }

    /// Start of the jiffy of each end.
    pub fn to_tick(&self, span: Span) -> Span {
        let tick = self.tick();
        Span { early: span.early.div_euclid(tick) * tick, late: span.late.div_euclid(tick) * tick }
    }

    /// When a timer runs that is armed at `at` for `jiffies.0` (if at its earliest) to `jiffies.1`.
    /// Inside a timer's function the wheel's clock is one ahead of jiffies (`__run_timers`), which can
    /// take a timer into a finer level.
    pub fn arm(&self, at: Span, jiffies: (u64, u64)) -> Span {
        let from = (self.jiffy(at.early), self.jiffy(at.late));
        let early = self.bucket(from.0.saturating_add(jiffies.0), jiffies.0.saturating_sub(1)).0;
        let late = self.bucket(from.1.saturating_add(jiffies.1), jiffies.1).1;
        self.runs(early, late)
    }

    /// When a timer runs that waits for `expires` and was armed between `delta.0` and `delta.1` jiffies
    /// ahead of that.
    pub fn pending(&self, expires: u64, delta: (u64, u64)) -> Span {
        let early = self.bucket(expires, delta.0.saturating_sub(1)).0.max(self.jiffies);
        self.runs(early, self.bucket(expires, delta.1).1.max(early))
    }

    /// As `CLOCK_MONOTONIC`.
    pub fn window(&self, span: Span) -> Window {
        let earliest = self.time.saturating_add_signed(span.early.saturating_sub(self.phase()));
        Window { earliest, latest: self.time.saturating_add_signed(span.late).max(earliest) }
    }

    fn jiffy(&self, at: i64) -> u64 {
        self.jiffies.wrapping_add_signed(at.div_euclid(self.tick()))
    }

    fn runs(&self, early: u64, late: u64) -> Span {
        Span { early: self.instant(early), late: self.instant(late).saturating_add(self.lateness()) }
    }

    fn lateness(&self) -> i64 {
        if self.wheel == Wheel::Exact { 0 } else { SOFTIRQ_LATENESS }
    }

    /// How far into its jiffy `time` may be, ns.
    fn phase(&self) -> i64 {
        if self.wheel == Wheel::Aligned { self.tick() } else { 0 }
    }

    /// Saturates: jiffies count up from 2^32 less five minutes, so only a record that is wrong comes that far.
    fn bucket(&self, expires: u64, delta: u64) -> (u64, u64) {
        let granularity = 1 << (LVL_CLK_SHIFT * level(delta, self.hz));
        match self.wheel {
            Wheel::Exact => (expires, expires),
            Wheel::Aligned => {
                let bucket = (expires / granularity).saturating_add(1).saturating_mul(granularity);
                (bucket, bucket)
            }
            Wheel::Unaligned => (expires.saturating_add(1), expires.saturating_add(granularity)),
        }
    }
}

/// Level of the wheel for a timer `delta` jiffies ahead (`LVL_START`); `LVL_DEPTH` is 9, 8 up to HZ=100.
fn level(delta: u64, hz: u32) -> u32 {
    let top = if hz > 100 { 8 } else { 7 };
    (1..=top).rev().find(|n| delta >= (LVL_SIZE - 1) << ((n - 1) * LVL_CLK_SHIFT)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_the_kernels_table() {
        // kernel/time/timer.c, "HZ 250": first jiffy of each level.
        for (n, start) in [(1, 63), (2, 504), (3, 4032), (4, 32_256), (5, 258_048)] {
            assert_eq!(level(start, 250), n);
            assert_eq!(level(start - 1, 250), n - 1);
        }
        assert_eq!(level(u64::MAX >> 1, 100), 7);
        assert_eq!(level(u64::MAX >> 1, 1000), 8);
    }

    #[test]
    fn a_timer_runs_past_its_expiry_by_at_most_the_granularity() {
        for hz in [100, 250, 300, 1000] {
            for (jiffies, timeout) in [(4_294_900_000u64, 51u64), (7, 102), (1000, 1632), (99_999, 30_000)] {
                let clock = Clock::new(0, jiffies, hz);
                let span = clock.arm(Span::exact(0), (timeout, timeout));
                let over = span.late - SOFTIRQ_LATENESS - timeout as i64 * clock.tick();
                assert!(over > 0 && over <= clock.tick() << (3 * level(timeout, hz)));
                assert!(span.early > timeout as i64 * clock.tick());
            }
        }
    }

    #[test]
    fn later_arming_never_fires_earlier() {
        let clock = Clock::new(0, 123_456, 250);
        let fires = |n: i64, t| clock.arm(Span::exact(n * clock.tick()), (t, t));
        for timeout in [1, 62, 63, 64, 503, 504, 505, 4032, 30_000] {
            for n in 0..600 {
                assert!(fires(n, timeout).early <= fires(n + 1, timeout).early);
                assert!(fires(n, timeout).late <= fires(n, timeout + 1).late);
            }
        }
    }

    #[test]
    fn an_unaligned_wheel_covers_every_alignment() {
        let unaligned = Clock::at_zero(250, Wheel::Unaligned).arm(Span::exact(0), (1632, 1632));
        for jiffies in 1_000_000..1_000_600 {
            let span = Clock::new(0, jiffies, 250).arm(Span::exact(0), (1632, 1632));
            assert!(unaligned.early <= span.early && span.late <= unaligned.late);
        }
    }

    #[test]
    fn jiffies_of_a_wrong_record_overflow_nothing() {
        for jiffies in [u64::MAX, u64::MAX - 1, 0] {
            let clock = Clock::new(0, jiffies, 1000);
            let span = clock.arm(Span { early: 0, late: FAR }, (1, u64::MAX));
            assert!(span.early <= span.late, "{span:?}");
            assert!(clock.pending(u64::MAX, (0, u64::MAX)).late >= 0);
        }
    }

    #[test]
    fn stamps_wrap() {
        let clock = Clock::new(5_000_400_000, 1000, 250);
        assert_eq!(clock.stamp(4990, 1_000_000).early, -10_400_000);
        let clock = Clock::new((1 << 32) * 1_000_000 + 7_000_000, 1000, 250);
        assert_eq!(clock.stamp(u32::MAX, 1_000_000).early, -8_000_000);
        assert_eq!(clock.instant32(990), -40_000_000);
    }
}
