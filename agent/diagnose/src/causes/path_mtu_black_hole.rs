//! Segments of full size vanish while shorter ones of the same flight arrive: a link on the way is narrower than
//! either end knows, and the ICMP message that would say so is lost (RFC 2923 §2.1).

use agent_model::cause::Cause;
use agent_model::units::{bytes, errno, plural};

use super::common::{left, owner, sent, timeouts};
use super::silence::is_silent;
use super::{Finding, Story, dropped_here};

/// Timeouts after which chance is no explanation: the same segments were lost each time.
const TIMEOUTS: u32 = 2;

/// What of a flight arrived, and what did not.
struct Flight {
    /// Segments that the peer did not acknowledge, all of full size.
    missing: u32,
    /// Bytes of the shorter ones, which it acknowledged selectively.
    arrived: u32,
    mss: u32,
}

pub(super) fn rule(story: &Story) -> Option<Finding> {
    (is_silent(story) && story.stage() >= TIMEOUTS).then_some(())?;
    if story.is_dead() && story.known_cause == Some(Cause::PathMtuBlackHole) {
        return Some(ended(story));
    }
    let Flight { missing, arrived, mss } = flight(story)?;
    let end = if story.is_dead() {
        format!("the kernel gave up with {}", errno(story.error()))
    } else {
        left(story)
    };
    let summary = format!(
        "full-sized segments ({mss} bytes) are lost each time, {} behind them arrived: a path MTU black hole; {end}",
        bytes(arrived)
    );
    Some(
        Finding::new(Cause::PathMtuBlackHole, summary)
            .saw(format!(
                "{} of {mss} bytes (the MSS) unacknowledged, {} sent after them acknowledged (SACK)",
                plural(missing, "segment"),
                bytes(arrived)
            ))
            .saw_if(dropped_here::too_big(story))
            .saw_if(timeouts(story))
            .saw_if(sent(story))
            .infer(
                "the peer lives and the way there is open for short packets; a link on it has a smaller MTU, and the \
                    ICMP message \"fragmentation needed\" (IPv6: \"packet too big\") does not come through",
            )
            .advise(format!(
                "find the size that passes: ping -M do -s {} {}, then smaller; let ICMP type 3 code 4 (ICMPv6 type 2) \
                    through every firewall on the way, this host's and the peer's included",
                mss + 12,
                story.connection.map_or_else(String::new, |known| known.identity.remote().ip().to_string())
            ))
            .advise(
                "net.ipv4.tcp_mtu_probing=1 in this network namespace finds the size after some timeouts, at the cost of \
                    those; or clamp the MSS where the narrow link begins (nft: tcp option maxseg size set rt mtu), or \
                    lower the route's mtu",
            )
            .saw_if(story.owner().map(|_| format!("it is {}'s", owner(story)))),
    )
}

/// The end has emptied the socket; what was seen while it was stalled holds.
fn ended(story: &Story) -> Finding {
    let summary = format!(
        "full-sized segments were lost each time while shorter ones arrived: a path MTU black hole; the kernel gave up \
            with {}",
        errno(story.error())
    );
    Finding::new(Cause::PathMtuBlackHole, summary)
        .saw("while it was stalled the peer acknowledged shorter segments behind the missing ones (SACK)")
        .saw_if(dropped_here::too_big(story))
        .saw_if(timeouts(story))
        .saw_if(sent(story))
        .infer(
            "the peer lives and the way there is open for short packets; a link on it has a smaller MTU, and the ICMP \
                message that would say so does not come through",
        )
        .advise("let ICMP type 3 code 4 (ICMPv6 type 2) through every firewall on the way, both hosts' own included")
        .advise("or net.ipv4.tcp_mtu_probing=1, or the MSS clamped where the narrow link begins")
}

/// All that is missing is as long as a segment can be, and what arrived is shorter than a segment.
fn flight(story: &Story) -> Option<Flight> {
    let raw = story.raw()?;
    let missing = raw.packets_out.checked_sub(raw.sacked_out).filter(|missing| *missing > 0)?;
    let (in_flight, _) = story.waiting();
    let arrived = in_flight.checked_sub(missing.checked_mul(raw.mss)?).filter(|arrived| *arrived > 0)?;
    let short = raw.sacked_out > 0 && arrived < raw.sacked_out.saturating_mul(raw.mss);
    short.then_some(Flight { missing, arrived, mss: raw.mss })
}
