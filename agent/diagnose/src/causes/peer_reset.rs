//! The peer sent a RST (`tcp_reset`): ECONNRESET, EPIPE after the peer's FIN.

use std::time::Duration;

use agent_correlate::connection::Connection;
use agent_correlate::timeline::What;
use agent_model::cause::Cause;
use agent_model::event::{Tcp, TcpState};
use agent_model::signals::reset_received::PeerReset;
use agent_model::units::{bytes, process, state, time};

use super::common::{known_for, lost, owner, sent};
use super::origin::{self, Maker};
use super::{Finding, Story};
use crate::Certainty;

pub(super) fn rule(story: &Story) -> Option<Finding> {
    let received = story.received().filter(|_| story.is_dead())?;
    let at = if let What::ResetReceived(PeerReset { state, .. }) = received.what { state } else { None };
    let unread = story.tcp().map_or(0, Tcp::unread_bytes);
    let lost_here = match story.undelivered() {
        0 => "all that it wrote had arrived there".to_owned(),
        lost => format!("{} not delivered", bytes(lost)),
    };
    let who = match origin::maker(story) {
        Maker::ThisHost => "a RST that was made on this host, in the peer's name,",
        Maker::Another => "a device that is not the peer, by the way its RST came,",
        Maker::PeerOrUnknown => "the peer",
    };
    let summary = format!("{who} reset the connection of {} in {}, {lost_here}", owner(story), state(at));
    let finding = Finding::new(Cause::PeerReset, summary)
        .saw(format!("a RST was accepted in {}", state(at)))
        .saw_if(sent(story))
        .saw_if(
            (unread > 0).then(|| format!("{} received are not read; read() still gives them", bytes(unread))),
        )
        .saw_if(lost(story))
        .saw_if(known_for(story));
    let finding = origin::tell(finding, story);
    Some(match (story.peer, origin::maker(story)) {
        (Some(peer), _) => the_peer(finding, peer),
        (None, Maker::ThisHost) => finding.advise(SHOW_RULES),
        (None, Maker::Another) => finding.advise(ASK_BETWEEN),
        (None, Maker::PeerOrUnknown) => guess(finding, story, at),
    })
}

/// What made it is on this host.
pub(super) const SHOW_RULES: &str = "see what answers here for the peer: nft list ruleset, iptables-save (a target REJECT or \
    REDIRECT), in the connection's network namespace";

/// What made it is on the way.
const ASK_BETWEEN: &str = "ask who runs what lies between why it reset the connection: the log of that firewall or \
    load balancer says so; tracepath to the peer names what is that many routers away";

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

/// Who made the RST is not known here: what could have, the likeliest first, and what decides.
fn guess(finding: Finding, story: &Story, at: Option<TcpState>) -> Finding {
    let idle = story.since_answer().filter(|idle| *idle >= LONG_IDLE);
    let finding =
        finding.saw_if(idle.map(|idle| format!("nothing had come from the peer for {}", time(idle))));
    let could = match (at, idle) {
        (Some(TcpState::CloseWait | TcpState::LastAck | TcpState::Closing), _) => {
            "the peer had closed its side before (its FIN had come): what was sent after that met a socket that nobody \
                reads any more"
        }
        (_, Some(_)) => {
            "likeliest first: a firewall, load balancer or address translation on the way forgot the idle connection; \
                the peer's host restarted or its address moved to another one; the peer's application closed with data \
                unread or aborted"
        }
        (_, None) if story.delivered() > 0 => {
            "could be: the peer's application closed with data unread, aborted or died; a firewall, proxy or \
                translation on the way, or on this host, reset it; the peer's address moved to a host that does not \
                know the connection"
        }
        (_, None) => {
            "no data had been acknowledged: the peer, or something between, may never have had this connection (a \
                restart, a firewall, a full accept queue)"
        }
    };
    let capture = ", or compare TTL and IP id of the RST with the peer's other packets in a capture";
    let capture = if origin::is_compared(story) { "" } else { capture };
    finding.with(Certainty::Inferred, could).advise(format!(
        "what decides is where the RST was made: run tcpwhy on the peer's host (it says whether its socket sent one, \
            or still lives){capture}"
    ))
}

/// Idle timers of firewalls and translations begin at some minutes; a resend is answered within seconds.
const LONG_IDLE: Duration = Duration::from_mins(1);
