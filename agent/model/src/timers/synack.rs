//! SYN-ACKs of a half-open connection (`reqsk_timer_handler`, `net/ipv4/inet_connection_sock.c`).

use super::Rule;
use super::clock::{Clock, Span};
use super::life::Life;

/// With the SYN queue more than half full the kernel may give up as early as this.
const PRESSED_RETRIES: u32 = 2;
/// A backlog below this counts as this.
const MIN_BACKLOG: u32 = 8;

/// The request's timer before it runs.
#[derive(Clone, Copy, Debug)]
pub struct Synack {
    /// `num_timeout`: how often the timer ran.
    pub timeouts: u32,
    /// The listener's `TCP_SYNCNT`, or `tcp_synack_retries`.
    pub retries: u32,
    /// The listener's `icsk_rto_max`, jiffies; `TCP_RTO_MAX` before 6.15.
    pub rto_max: u32,
    /// Half-open connections of the listener.
    pub syn_queue: u32,
    /// Its `sk_max_ack_backlog`.
    pub backlog: u32,
    /// When the timer runs.
    pub fires: Span,
}

impl Synack {
    /// Follows `reqsk_timer_handler` until it drops the request.
    pub fn live(mut self, clock: &Clock) -> Life {
        let mut life = Life::default();
        while life.fire(self.timeout(clock), self.fires) {
            if self.timeouts >= self.fewest_retries() {
                life.kill(Rule::TcpSynackRetries, self.fires);
            }
            if self.timeouts >= self.retries {
                break;
            }
            self.timeouts += 1;
            let timeout = self.timeout(clock);
            self.fires = clock.arm(self.fires, (timeout, timeout));
        }
        life
    }

    /// `tcp_reqsk_timeout`, jiffies.
    pub fn timeout(&self, clock: &Clock) -> u64 {
        (u64::from(clock.hz()) << self.timeouts.min(31)).min(self.rto_max.into())
    }

    /// How many of a crowded queue's requests are young is not known, so the limit is a range.
    fn fewest_retries(&self) -> u32 {
        let crowded = self.syn_queue.saturating_mul(2) > self.backlog.max(MIN_BACKLOG);
        if crowded { self.retries.min(PRESSED_RETRIES) } else { self.retries }
    }
}
