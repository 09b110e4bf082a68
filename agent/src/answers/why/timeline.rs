//! An entry of the timeline in words.

use agent_correlate::Correlator;
use agent_correlate::timeline::Entry;
use agent_model::signals::Describe;
use agent_model::units::from_jiffies;
use jiff::Timestamp;

use super::Happening;

/// `first` is the time of the first entry.
pub(super) fn happening(correlator: &Correlator, entry: &Entry, first: u64) -> Happening {
    let host = correlator.host();
    let rto = entry.what.rto().and_then(|rto| from_jiffies(rto, host.hz));
    let realtime = correlator.realtime(entry.time);
    Happening {
        time: Timestamp::from_nanosecond(realtime.into()).unwrap_or(Timestamp::UNIX_EPOCH),
        after_ms: entry.time.saturating_sub(first) / 1_000_000,
        count: entry.count,
        event: entry.what.into(),
        text: entry.what.text(host),
        states: entry.what.states(),
        stage: entry.what.stage().map(u32::from),
        rto_ms: rto.map(|rto| u64::try_from(rto.as_millis()).unwrap_or(u64::MAX)),
        unacked_bytes: entry.unacked,
        unsent_bytes: entry.unsent,
        unread_bytes: entry.unread,
        window_bytes: entry.window,
    }
}
