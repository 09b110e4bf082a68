//! Nobody listens on the port: the SYN finds no socket (`tcp_v4_rcv`, reason NO_SOCKET), its sender gets
//! ECONNREFUSED.

use agent_correlate::listeners::Listening;
use agent_model::cause::Cause;
use agent_model::event::{Segment, TcpFlags, TcpState};

use super::common::owner;
use super::origin::{self, Maker};
use super::peer_reset::SHOW_RULES;
use super::{Finding, Story};
use crate::path::Path;

const ECONNREFUSED: i32 = 111;

pub(super) fn rule(story: &Story) -> Option<Finding> {
    here(story).or_else(|| there(story))
}

/// This host refused.
fn here(story: &Story) -> Option<Finding> {
    let stray = story.stray?;
    let segment = story.reset()?.trigger?;
    let no_socket = story.path().is_some_and(|(path, _)| path == Path::NoSocket);
    if !no_socket || !is_syn(&segment) {
        return None;
    }
    let (local, remote) = (stray.event.endpoint.local, stray.event.endpoint.remote);
    let finding = Finding::new(
        Cause::ConnectionRefused,
        format!("nobody listens on {local}: the SYN of {remote} was refused"),
    )
    .saw("the SYN found no socket");
    let finding = match &story.listening {
        Listening::Nobody => finding.saw("no process listens on this address and port"),
        Listening::Unknown => finding.infer("no listener is known on this address and port"),
        Listening::Somebody(listener) => finding.infer(format!(
            "a listener on {} is known, which may have begun just after",
            listener.endpoint.local
        )),
    };
    Some(finding.advise(format!(
        "start the server, or bind it to {local} (a server on 127.0.0.1 is not \
        reached from outside); the client's connect() fails at once, so retrying there costs little"
    )))
}

fn is_syn(segment: &Segment) -> bool {
    segment.flags.contains(TcpFlags::SYN) && !segment.flags.contains(TcpFlags::ACK)
}

/// The peer refused.
fn there(story: &Story) -> Option<Finding> {
    let connection = story.connection.filter(|_| story.is_dead())?;
    let connecting = connection.live_state == Some(TcpState::SynSent);
    if connection.error != ECONNREFUSED || !connecting {
        return None;
    }
    let remote = connection.identity.remote();
    let by_this_host = origin::maker(story) == Maker::ThisHost;
    let summary = if by_this_host {
        format!("the connect() of {} to {remote} was refused on this host", owner(story))
    } else {
        format!("{remote} refused the connect() of {}", owner(story))
    };
    let finding = Finding::new(Cause::ConnectionRefused, summary).saw("a RST answered the SYN: ECONNREFUSED");
    let finding = origin::tell(finding, story);
    if by_this_host {
        return Some(finding.advise(SHOW_RULES));
    }
    Some(finding.infer("no process listens there, or a firewall rejects with a reset").advise(format!(
        "check address and port; on the host of {} `ss -ltn` shows who listens; \
            retry with a growing pause while the server starts",
        remote.ip()
    )))
}
