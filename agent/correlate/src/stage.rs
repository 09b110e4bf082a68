//! The timeout that has just expired.

use std::time::Duration;

use agent_model::event::{Detail, KernelEvent};
use agent_model::signals::SynackRetransmit;
use agent_model::units::from_jiffies;

/// `TCP_TIMEOUT_INIT`: the first timeout of a SYN-ACK.
const INITIAL_RTO: Duration = Duration::from_secs(1);

/// `TCP_RTO_MAX`, the cap of every timeout before 6.15, and of a listener not yet seen after.
pub const RTO_MAX: Duration = Duration::from_mins(2);

/// The timeout in force at the event: at a timeout's retransmission the one that has just expired, since the
/// kernel doubles `icsk_rto` after it (docs/kernel.md, "What a retransmission's event already counts"). A
/// half-open connection has no RTO: its timer runs for `1 s << num_timeout`, at most `listener_rto_max`
/// (docs/kernel.md, "What a SYN-ACK's event does not count yet").
pub fn rto(event: &KernelEvent, hz: u32, listener_rto_max: Option<u32>) -> Option<Duration> {
    if let Detail::SynackRetransmit(SynackRetransmit { timeouts, .. }) = event.detail {
        let most = listener_rto_max.and_then(|jiffies| from_jiffies(jiffies, hz)).unwrap_or(RTO_MAX);
        let factor = 1_u32.checked_shl(timeouts.into()).unwrap_or(u32::MAX);
        return Some(INITIAL_RTO.saturating_mul(factor).min(most));
    }
    from_jiffies(event.tcp.as_ref()?.raw.rto, hz)
}
