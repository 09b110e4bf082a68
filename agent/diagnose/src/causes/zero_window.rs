//! The peer's window is shut: its application does not read. Probes ask for it (`tcp_probe_timer`), or
//! retransmissions do where it was shut over data in flight.

use agent_model::cause::Cause;
use agent_model::event::TcpState;
use agent_model::units::{bytes, errno, plural};

use super::common::{left, lost, owner, sent, unanswered};
use super::silence::is_silent;
use super::socket_buffers::held_up;
use super::{Finding, Story};

pub(super) fn is_shut(story: &Story) -> bool {
    let connected = |state| !matches!(state, TcpState::SynSent | TcpState::SynRecv);
    story.raw().is_some_and(|raw| raw.snd_wnd == 0) && story.live_state().is_some_and(connected)
}

/// The connection died of it: `tcp_retries2` probes without an answer.
pub(super) fn timeout(story: &Story) -> Option<Finding> {
    let dead = story.is_dead() && story.error() != 0 && story.received().is_none() && story.reset().is_none();
    (dead && is_shut(story) && !story.is_orphan()).then_some(())?;
    let summary =
        format!("the peer shut its window and then fell silent: given up with {}", errno(story.error()));
    Some(
        facts(Finding::new(Cause::ZeroWindowTimeout, summary), story)
            .saw_if(lost(story))
            .infer("the peer's application stopped reading, and later its host stopped answering")
            .advise(
                "find why the peer's application did not read; a host that answers probes with a \
                shut window is never given up, one that is silent is",
            ),
    )
}

/// It lives and waits.
pub(super) fn rule(story: &Story) -> Option<Finding> {
    let waits = story.undelivered() > 0 || story.raw().is_some_and(|raw| raw.probes_out > 0);
    (!story.is_dead() && is_shut(story) && (waits || is_silent(story))).then_some(())?;
    let waiting = bytes(story.undelivered());
    let summary = format!("the peer's window is 0: its application does not read, {waiting} wait here");
    // One probe may be on its way.
    let silent = unanswered(story).filter(|_| story.raw().is_some_and(|raw| raw.probes_out > 1));
    let summary = match silent {
        Some(probes) => format!("{summary}; no answer to {probes}: {}", left(story)),
        None => summary,
    };
    Some(
        facts(Finding::new(Cause::ZeroWindow, summary), story)
            .infer("the peer's host lives as long as it answers the probes; nothing is lost")
            .advise(format!(
                "find why the peer's application does not read; in {}: TCP_USER_TIMEOUT \
                ends the wait, which else has no limit",
                owner(story)
            )),
    )
}

fn facts(finding: Finding, story: &Story) -> Finding {
    let probes = story.raw().map_or(0, |raw| u32::from(raw.probes_out));
    finding
        .saw("the window that the peer offers is 0")
        .saw(format!("{} unanswered", plural(probes, "probe")))
        .saw_if(sent(story))
        .saw_if(held_up(story))
}
