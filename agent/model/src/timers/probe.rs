//! Zero-window probes: the peer's window is shut and nothing is in flight (`tcp_probe_timer`).

use super::Rule;
use super::clock::{Clock, Span};
use super::life::Life;
use super::policy::orphan_retries;

/// `ilog2(TCP_RTO_MAX / TCP_RTO_MIN) + 1`: the interval doubles no more often (`tcp_probe0_when`).
const MAX_DOUBLINGS: u32 = 10;
/// `TCP_TIMEOUT_MIN`, jiffies.
const TIMEOUT_MIN: u64 = 2;

/// A closed socket's limit.
#[derive(Clone, Copy, Debug)]
pub struct Orphan {
    /// `tcp_orphan_retries`.
    pub retries: u8,
    /// An ICMP error is pending (`sk_err_soft`).
    pub soft_error: bool,
}

/// The probe timer before it runs.
#[derive(Clone, Copy, Debug)]
pub struct Probes {
    /// `icsk_rto`, jiffies: the probes do not change it.
    pub rto: u32,
    /// `TCP_RTO_MIN`, jiffies: no probe interval is shorter (`tcp_probe0_base`).
    pub rto_min: u32,
    /// `icsk_rto_max`, jiffies.
    pub rto_max: u32,
    /// `icsk_backoff`.
    pub backoff: u32,
    /// `icsk_probes_out`: probes since the last ACK.
    pub probes_out: u32,
    /// `icsk_probes_tstamp`: the first probe of all, whatever came back; `None` before it.
    pub tstamp: Option<Span>,
    /// When the timer runs.
    pub fires: Span,
    /// `tcp_retries2`.
    pub retries2: u8,
    /// The socket is closed.
    pub orphan: Option<Orphan>,
    /// `TCP_USER_TIMEOUT`, ms; 0 is unset.
    pub user_timeout: u32,
    /// If the peer answers the probes, the jiffies it may take: each answer clears `probes_out` and arms
    /// the timer anew (`tcp_ack_probe`).
    pub answered: Option<u64>,
    /// See [`super::Era::probe0_clamp_wraps`].
    pub clamp_wraps: bool,
}

impl Probes {
    /// Follows `tcp_probe_timer` until it gives up.
    pub fn live(mut self, clock: &Clock) -> Life {
        let mut life = Life::default();
        if self.is_endless() {
            life.fire(self.timeout(), self.fires);
            return life;
        }
        while life.fire(self.timeout(), self.fires) {
            let Some(alive) = self.survive(&mut life, clock) else { break };
            self.probe(clock, alive);
        }
        life
    }

    /// RFC 1122 §4.2.2.17: as long as the peer answers, a socket in use is never given up.
    fn is_endless(&self) -> bool {
        self.answered.is_some() && self.orphan.is_none() && self.user_timeout == 0
    }

    /// `tcp_probe0_when`, jiffies.
    pub fn timeout(&self) -> u64 {
        let base = u64::from(self.rto.max(self.rto_min));
        (base << self.backoff.min(MAX_DOUBLINGS)).min(self.rto_max.into())
    }

    /// `tcp_probe_timer`: the instants at which the timer does not kill.
    fn survive(&mut self, life: &mut Life, clock: &Clock) -> Option<Span> {
        let mut at = self.fires;
        let first = clock.to_tick(at);
        if let (Some(tstamp), 1..) = (self.tstamp, self.user_timeout) {
            let limit = tstamp.after(self.user_timeout_ns(clock));
            at = life.kill_past(Rule::TcpUserTimeout, at, limit)?;
        }
        self.tstamp.get_or_insert(first);
        if self.is_spent() {
            life.kill(self.rule(), at);
            return None;
        }
        Some(at)
    }

    fn rule(&self) -> Rule {
        if self.orphan.is_some() { Rule::TcpOrphanRetries } else { Rule::ZeroWindowProbes }
    }

    fn is_spent(&self) -> bool {
        let Some(orphan) = self.orphan else { return self.probes_out >= u32::from(self.retries2) };
        let alive = u64::from(self.rto) << self.backoff.min(31) < u64::from(self.rto_max);
        let max_probes = orphan_retries(orphan.retries, orphan.soft_error, alive);
        self.probes_out >= max_probes || (!alive && self.backoff >= max_probes)
    }

    /// `tcp_send_probe0`, then `tcp_ack_probe` if the peer answers.
    fn probe(&mut self, clock: &Clock, at: Span) {
        if self.backoff < u32::from(self.retries2) {
            self.backoff += 1;
        }
        let at = match self.answered {
            Some(jiffies) => Span { late: at.late + jiffies as i64 * clock.tick(), ..at },
            None => at,
        };
        self.probes_out += u32::from(self.answered.is_none());
        self.fires = clock.arm(at, self.clamp(clock, clock.to_tick(at)));
    }

    /// `tcp_clamp_probe0_to_user_timeout`.
    fn clamp(&self, clock: &Clock, at: Span) -> (u64, u64) {
        let when = self.timeout();
        let (Some(tstamp), 1..) = (self.tstamp, self.user_timeout) else { return (when, when) };
        let allowed = self.user_timeout_ns(clock);
        let left = |elapsed: i64| (allowed - elapsed).div_euclid(clock.tick());
        let clamp = |left: i64| (left.max(0) as u64).max(TIMEOUT_MIN).min(when);
        let late = left(at.late - tstamp.late);
        let late = if late < 0 && self.clamp_wraps { when } else { clamp(late) };
        (clamp(left(at.early - tstamp.early)), late)
    }

    fn user_timeout_ns(&self, clock: &Clock) -> i64 {
        clock.msecs_to_jiffies(self.user_timeout.into()) as i64 * clock.tick()
    }
}
