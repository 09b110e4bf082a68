//! The peer sent a RST (`tcp_reset`): ECONNRESET, EPIPE after the peer's FIN.

use agent_correlate::connection::Connection;
use agent_model::cause::Cause;
use agent_model::event::Tcp;
use agent_model::signals::reset_received::PeerReset;
use agent_model::units::{bytes, process, state};

use super::common::{known_for, lost, owner, sent};
use super::{Finding, Story};
use crate::Certainty;

pub(super) fn rule(story: &Story) -> Option<Finding> {
    let at = match story.received().filter(|_| story.is_dead())?.what {
        agent_correlate::timeline::What::ResetReceived(PeerReset { state }) => state,
        _ => None,
    };
    let unread = story.tcp().map_or(0, Tcp::unread_bytes);
    let lost_here = match story.undelivered() {
        0 => "all that it wrote had arrived there".to_owned(),
        lost => format!("{} not delivered", bytes(lost)),
    };
    let summary = format!("the peer reset the connection of {} in {}, {lost_here}", owner(story), state(at));
    let finding = Finding::new(Cause::PeerReset, summary)
        .saw(format!("a RST was accepted in {}", state(at)))
        .saw_if(sent(story))
        .saw_if(
            (unread > 0).then(|| format!("{} received are not read; read() still gives them", bytes(unread))),
        )
        .saw_if(lost(story))
        .saw_if(known_for(story));
    let finding = match story.peer {
        Some(peer) => the_peer(finding, peer),
        None => guess(finding, story),
    };
    Some(finding)
}

/// The other end is on this host: it says why.
fn the_peer(finding: Finding, peer: &Connection) -> Finding {
    let who = peer.ended_by.as_deref().or(peer.owner.as_ref().map(|owner| &owner.process)).map(process);
    let who = who.unwrap_or_else(|| "an unknown process".to_owned());
    let why = peer.verdict.map_or_else(|| "not known".to_owned(), |cause| cause.to_string());
    finding
        .saw(format!(
            "the other end is on this host: connection {} of {who}, whose end has the cause {why}",
            peer.id
        ))
        .advise(format!("look at the other end: tcpwhy why --id {}", peer.id))
}

fn guess(finding: Finding, story: &Story) -> Finding {
    let acknowledged = story.delivered() > 0;
    let guess = if acknowledged {
        "data had been acknowledged: the peer's host knew the connection, so its application closed \
            with data unread, aborted, or died"
    } else {
        "no data had been acknowledged: the peer, or something between, may never have had this \
            connection (a restart, a firewall, a full accept queue)"
    };
    finding.with(Certainty::Inferred, guess).advise(
        "the reason is known where the RST was made: run tcpwhy there, or capture there, to see \
            whether the peer or a box between sent it",
    )
}
