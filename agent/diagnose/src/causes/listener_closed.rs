//! A listener that closes resets all that waits to be accepted (`inet_csk_listen_stop`).

use agent_model::cause::Cause;
use agent_model::event::Tcp;
use agent_model::units::bytes;

use super::common::{lost, reason, sent, went};
use super::{Finding, Story};
use crate::path::Path;

pub(super) fn rule(story: &Story) -> Option<Finding> {
    let certainty = went(story, Path::ListenerClosed)?;
    let who = super::common::closer(story);
    let unread = story.tcp().map_or(0, Tcp::unread_bytes);
    Some(
        Finding::new(
            Cause::ListenerClosed,
            format!(
                "{who} closed its listener with this connection not \
            yet accepted: reset"
            ),
        )
        .with(certainty, reason(story, certainty))
        .saw(format!("{} of the client were waiting to be read", bytes(unread)))
        .saw_if(sent(story))
        .saw_if(lost(story))
        .advise(format!(
            "in {who}: at the end accept() until EAGAIN and serve what came, then close \
                the listener; for restarts without loss pass the listener on (socket activation, \
                SO_REUSEPORT with net.ipv4.tcp_migrate_req=1)"
        )),
    )
}
