//! A window shut while data was in flight: retransmissions serve as probes (`tcp_rtx_probe0_timed_out`).
//!
//! `icsk_retransmits` does not grow, so no retry limit applies. The connection ends only if the peer has sent nothing,
//! and the retransmissions have gone on, for twice `rto_max` (or a shorter `TCP_USER_TIMEOUT`, which alone also
//! ends a connection whose peer answers).

use super::Rule;
use super::clock::{Clock, MILLISECOND, Span};
use super::life::{Life, clamp_rto};
use super::policy::Policy;

/// The retransmission timer of a shut window before it runs.
#[derive(Clone, Copy, Debug)]
pub struct ShrunkWindow {
    /// `icsk_rto`, jiffies.
    pub rto: u32,
    /// `icsk_retransmits`.
    pub retransmits: u32,
    /// `retrans_stamp`, or when the oldest segment was sent.
    pub stamp: Span,
    /// Whether `stamp` is of a retransmission, which it stays.
    pub stamped: bool,
    /// `rcv_tstamp`, ns from now's jiffy; `None` if the peer answers each retransmission.
    pub last: Option<i64>,
    /// When the timer expires, before the wheel's rounding: the kernel tests this, not the clock.
    pub expires: Span,
    /// When the timer runs.
    pub fires: Span,
}

impl ShrunkWindow {
    /// Follows `tcp_retransmit_timer` until it gives up.
    pub fn live(mut self, policy: &Policy, clock: &Clock) -> Life {
        let mut life = Life::default();
        if self.last.is_none() && policy.user_timeout == 0 {
            life.fire(self.rto.into(), self.fires);
            return life;
        }
        while life.fire(self.rto.into(), self.fires) {
            let Some(alive) = self.survive(&mut life, policy, clock) else { break };
            self.retransmit(policy, clock, alive);
        }
        life
    }

    fn survive(&self, life: &mut Life, policy: &Policy, clock: &Clock) -> Option<Span> {
        let mut at = self.fires;
        if policy.user_timeout > 0 {
            let more_than = (i64::from(policy.user_timeout) + 1) * MILLISECOND;
            at = life.kill_past(Rule::TcpUserTimeout, at, self.stamp.after(more_than))?;
        }
        let timeout = silence(policy, clock);
        match self.last {
            Some(last) if self.expires.late > last + timeout => {
                let limit = self.stamp.after(timeout + MILLISECOND);
                let alive = life.kill_past(Rule::ZeroWindowProbes, at, limit);
                if self.expires.early > last + timeout { alive } else { Some(at) }
            }
            Some(_) | None => Some(at),
        }
    }

    fn retransmit(&mut self, policy: &Policy, clock: &Clock, at: Span) {
        if !self.stamped {
            self.stamp = clock.rounded_stamp(at);
            self.stamped = true;
        }
        self.rto = policy.next_rto(self.rto, self.retransmits);
        let timeout = clamp_rto(policy, clock, self.rto, self.stamp, at);
        let tick = clock.to_tick(at);
        let ns = |jiffies: u64| jiffies as i64 * clock.tick();
        self.expires = Span { early: tick.early + ns(timeout.0), late: tick.late + ns(timeout.1) };
        self.fires = clock.arm(at, timeout);
    }
}

/// ns of silence allowed.
fn silence(policy: &Policy, clock: &Clock) -> i64 {
    let rto_max = u64::from(policy.rto_max) * 2;
    let jiffies = match policy.user_timeout {
        0 => rto_max,
        ms => rto_max.min(clock.msecs_to_jiffies(ms.into())),
    };
    jiffies as i64 * clock.tick()
}
