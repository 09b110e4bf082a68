//! Keepalive: nothing to send, nothing in flight (`tcp_keepalive_timer`).

use super::Rule;
use super::clock::{Clock, Span};
use super::life::Life;

/// The keepalive timer before it runs.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// `keepalive_time_when`, jiffies: silence before the first probe.
    pub time: u64,
    /// `keepalive_intvl_when`, jiffies: from probe to probe.
    pub intvl: u64,
    /// `keepalive_probes`: unanswered probes after which the connection is reset.
    pub probes: u32,
    /// `TCP_USER_TIMEOUT`, ms; if set it counts instead of `probes`.
    pub user_timeout: u32,
    /// `icsk_probes_out`.
    pub probes_out: u32,
    /// The last segment from the peer, ns from now's jiffy.
    pub last: i64,
    /// When the timer runs.
    pub fires: Span,
}

impl Keepalive {
    /// Follows `tcp_keepalive_timer` until it gives up. Segments do not move the timer: when it runs too
    /// early it is armed again for what is missing.
    pub fn live(mut self, clock: &Clock) -> Life {
        let mut life = Life::default();
        let due = self.last + self.time as i64 * clock.tick();
        if self.fires.late < due {
            self.fires = self.wait_until(due, clock);
        }
        while life.fire(self.timeout(), self.fires) {
            let Some(alive) = self.survive(&mut life, clock) else { break };
            self.probes_out += 1;
            self.fires = clock.arm(alive, (self.intvl, self.intvl));
        }
        life
    }

    fn timeout(&self) -> u64 {
        if self.probes_out == 0 { self.time } else { self.intvl }
    }

    fn wait_until(&self, due: i64, clock: &Clock) -> Span {
        let left = |at: i64| ((due - at) / clock.tick()) as u64;
        let at = clock.to_tick(self.fires);
        clock.arm(self.fires, (left(at.early), left(at.late)))
    }

    fn survive(&self, life: &mut Life, clock: &Clock) -> Option<Span> {
        match self.user_timeout {
            0 if self.probes_out >= self.probes => {
                life.kill(Rule::Keepalive, self.fires);
                None
            }
            1.. if self.probes_out > 0 => {
                let jiffies = clock.msecs_to_jiffies(self.user_timeout.into());
                let limit = Span::exact(self.last + jiffies as i64 * clock.tick());
                life.kill_past(Rule::TcpUserTimeout, self.fires, limit)
            }
            _ => Some(self.fires),
        }
    }
}
