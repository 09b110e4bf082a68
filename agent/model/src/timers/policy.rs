//! How long the kernel goes on retransmitting (`net/ipv4/tcp_timer.c`).

use std::time::Duration;

use super::Rule;

/// `TCP_THIN_LINEAR_RETRIES`.
const THIN_LINEAR_RETRIES: u32 = 6;
/// What `tcp_orphan_retries` 0 stands for while the RTO is below its maximum.
const ORPHAN_RETRIES_ALIVE: u32 = 8;
/// `TCP_RTO_MIN`, ms. The model's base is this constant, whatever `rto_min` the socket has.
pub const TCP_RTO_MIN_MS: u64 = 200;
/// `TCP_RTO_MAX`, s: the limit before 6.15, the default since.
pub const TCP_RTO_MAX_SECS: u64 = 120;
/// `TCP_TIMEOUT_INIT`, s: the RTO of a SYN and SYN-ACK. `BPF_SOCK_OPS_TIMEOUT_INIT` may change it.
pub const TCP_TIMEOUT_INIT_SECS: u64 = 1;

/// Which sysctl ends the retransmissions, with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Data of a socket some process still holds.
    Retries2(u8),
    /// Data of a socket that was closed.
    Orphan {
        /// `tcp_orphan_retries`.
        retries: u8,
        /// An ICMP error is pending (`sk_err_soft`).
        soft_error: bool,
    },
    /// A SYN (or the SYN-ACK of a simultaneous open, then with `linear` 0).
    Syn {
        /// `TCP_SYNCNT` or `tcp_syn_retries`.
        retries: u8,
        /// `tcp_syn_linear_timeouts`; 0 before 6.5.
        linear: u8,
    },
}

/// When retransmissions end and how their timeout grows.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Ticks a second.
    pub hz: u32,
    /// `icsk_rto_max`, jiffies; `TCP_RTO_MAX` before 6.15.
    pub rto_max: u32,
    /// `TCP_USER_TIMEOUT`, ms; 0 is unset.
    pub user_timeout: u32,
    /// The sysctl.
    pub limit: Limit,
    /// The RTO to which a thin stream returns at each of its first six timeouts, jiffies.
    pub thin: Option<u32>,
}

/// What the kernel tests when the timer runs (`tcp_write_timeout`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Test {
    /// Dead this long after `retrans_stamp`, ms; tested only after a first retransmission.
    pub timeout_ms: u64,
    /// What sets `timeout_ms`.
    pub rule: Rule,
    /// Dead after this many retransmissions, however quickly they passed: SYNs only.
    pub count: Option<u32>,
}

impl Policy {
    /// The test of a timer that ran for `rto` jiffies (`tcp_write_timeout`, `retransmits_timed_out`).
    pub fn test(&self, rto: u32) -> Test {
        let (rule, timeout_ms) = match self.user_timeout {
            0 => self.model(rto),
            ms => (Rule::TcpUserTimeout, u64::from(ms)),
        };
        Test { timeout_ms, rule, count: self.count() }
    }

    /// The timeout after the `retransmits`-th (`tcp_retransmit_timer`). In `SYN_SENT` 6.5 to 6.11 count
    /// by `icsk_backoff`, 6.12+ by `total_rto`; both equal `icsk_retransmits` there.
    pub fn next_rto(&self, rto: u32, retransmits: u32) -> u32 {
        if self.linear().is_some_and(|linear| retransmits <= linear) {
            return rto;
        }
        let thin = self.thin.filter(|_| retransmits <= THIN_LINEAR_RETRIES);
        thin.unwrap_or(rto.saturating_mul(2)).min(self.rto_max)
    }

    /// SYNs that are sent at the same interval.
    fn linear(&self) -> Option<u32> {
        match self.limit {
            Limit::Syn { linear, .. } => Some(linear.into()),
            Limit::Retries2(_) | Limit::Orphan { .. } => None,
        }
    }

    /// The SYN's limit on the count (`max_retransmits`).
    fn count(&self) -> Option<u32> {
        match self.limit {
            Limit::Syn { retries, linear } => Some(u32::from(retries) + u32::from(linear)),
            Limit::Retries2(_) | Limit::Orphan { .. } => None,
        }
    }

    fn model(&self, rto: u32) -> (Rule, u64) {
        let base = self.hz / 5;
        let (rule, base, boundary) = match self.limit {
            Limit::Retries2(retries) => (Rule::TcpRetries2, base, u32::from(retries)),
            Limit::Orphan { retries, soft_error } => {
                let alive = rto < self.rto_max;
                (Rule::TcpOrphanRetries, base, orphan_retries(retries, soft_error, alive))
            }
            Limit::Syn { retries, .. } => (Rule::TcpSynRetries, self.hz, u32::from(retries)),
        };
        let jiffies = model_timeout(boundary, base.into(), self.rto_max.into());
        (rule, jiffies * 1000 / u64::from(self.hz))
    }
}

/// `tcp_model_timeout`: the time that `boundary` retransmissions take, and the wait after the last,
/// if the first comes after `rto_base`, each further one after twice as long, at most `rto_max`.
pub fn model_timeout(boundary: u32, rto_base: u64, rto_max: u64) -> u64 {
    let threshold = (rto_max / rto_base.max(1)).max(1).ilog2();
    let doubling = ((2 << boundary.min(threshold)) - 1) * rto_base;
    doubling + u64::from(boundary.saturating_sub(threshold)) * rto_max
}

/// T(N) of `tcp_retries2` N: the kernel's yardstick, from the constant base of 200 ms.
pub fn hypothetical_timeout(retries: u8, rto_max: Duration) -> Duration {
    let ms = model_timeout(retries.into(), TCP_RTO_MIN_MS, rto_max.as_millis() as u64);
    Duration::from_millis(ms)
}

/// `tcp_orphan_retries`: `alive` is an RTO that has not reached its maximum.
pub fn orphan_retries(sysctl: u8, soft_error: bool, alive: bool) -> u32 {
    match (sysctl, alive) {
        (0, true) => ORPHAN_RETRIES_ALIVE,
        (_, false) if soft_error => 0,
        (retries, _) => retries.into(),
    }
}
