//! What is left of a connection whose peer stays silent: every run of its timer up to the last.

use super::Rule;
use super::clock::{Clock, MILLISECOND, Span};
use super::policy::{Policy, Test};

/// More runs than any limit allows (`tcp_retries2` is at most 255): ends a life that never would.
const MAX_FIRINGS: usize = 1024;

/// One run of a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Firing {
    /// How long the timer was armed for, jiffies.
    pub timeout: u64,
    /// When it runs.
    pub at: Span,
}

/// The runs of a timer, the last of which ends the connection.
#[derive(Clone, Debug, Default)]
pub struct Life {
    /// In order; none if there is no timer.
    pub firings: Vec<Firing>,
    /// When and by which rule the connection ends; `None` if it never does.
    pub death: Option<(Rule, Span)>,
}

impl Life {
    /// Notes a run; false if there were too many.
    pub fn fire(&mut self, timeout: u64, at: Span) -> bool {
        self.firings.push(Firing { timeout, at });
        self.firings.len() < MAX_FIRINGS
    }

    /// A run at `at` kills by `rule` if it is at or past `limit`. What is not is returned to go on with.
    pub fn kill_past(&mut self, rule: Rule, at: Span, limit: Span) -> Option<Span> {
        let (dead, alive) = at.split(limit);
        if let Some(dead) = dead {
            self.kill(rule, dead);
        }
        alive
    }

    /// A run at `at` kills by `rule`.
    pub fn kill(&mut self, rule: Rule, at: Span) {
        let (rule, at) = self.death.map_or((rule, at), |(first, span)| (first, span.hull(at)));
        self.death = Some((rule, at));
    }
}

/// The retransmission timer before it runs.
#[derive(Clone, Copy, Debug)]
pub struct Retransmission {
    /// `icsk_rto`, jiffies.
    pub rto: u32,
    /// `icsk_retransmits`: timeouts so far.
    pub retransmits: u32,
    /// `retrans_stamp`; `None` before the first retransmission.
    pub stamp: Option<Span>,
    /// When the timer runs.
    pub fires: Span,
    /// `retrans_stamp` is in µs (`tcp_usec_ts`, 6.7+).
    pub usec: bool,
}

impl Retransmission {
    /// Follows `tcp_retransmit_timer` until it gives up.
    pub fn live(mut self, policy: &Policy, clock: &Clock) -> Life {
        let mut life = Life::default();
        while life.fire(self.rto.into(), self.fires) {
            let Some(alive) = self.survive(&mut life, &policy.test(self.rto), clock) else { break };
            self.retransmit(policy, clock, alive);
        }
        life
    }

    /// `tcp_write_timeout`: the instants at which the timer does not kill.
    fn survive(&self, life: &mut Life, test: &Test, clock: &Clock) -> Option<Span> {
        if test.count.is_some_and(|count| self.retransmits >= count) {
            life.kill(Rule::TcpSynRetries, self.fires);
            return None;
        }
        match self.stamp.filter(|_| self.retransmits > 0) {
            Some(stamp) => life.kill_past(test.rule, self.fires, stamp.after(self.allowed(test, clock))),
            None => Some(self.fires),
        }
    }

    /// With µs stamps the kernel forgives a jiffy (`retransmits_timed_out`, 6.7+).
    fn allowed(&self, test: &Test, clock: &Clock) -> i64 {
        let ns = test.timeout_ms as i64 * MILLISECOND;
        if self.usec { ns - clock.tick() } else { ns }
    }

    fn retransmit(&mut self, policy: &Policy, clock: &Clock, at: Span) {
        self.retransmits += 1;
        let stamp = *self.stamp.get_or_insert_with(|| clock.rounded_stamp(at));
        self.rto = policy.next_rto(self.rto, self.retransmits);
        self.fires = clock.arm(at, clamp_rto(policy, clock, self.rto, stamp, at));
    }
}

/// `tcp_clamp_rto_to_user_timeout`: no longer than is left of `TCP_USER_TIMEOUT`.
pub fn clamp_rto(policy: &Policy, clock: &Clock, rto: u32, stamp: Span, at: Span) -> (u64, u64) {
    let rto = u64::from(rto);
    let clamp = |elapsed: i64| {
        let left = i64::from(policy.user_timeout).saturating_sub(elapsed.div_euclid(MILLISECOND));
        if left <= 0 { 1 } else { rto.min(clock.msecs_to_jiffies(left as u64)) }
    };
    match policy.user_timeout {
        0 => (rto, rto),
        _ => (clamp(at.early.saturating_sub(stamp.early)), clamp(at.late.saturating_sub(stamp.late))),
    }
}
