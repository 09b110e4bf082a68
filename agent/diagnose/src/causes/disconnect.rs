//! `connect()` with `AF_UNSPEC`: `tcp_disconnect` resets and makes the socket new.

use agent_model::cause::Cause;
use agent_model::units::bytes;

use super::common::{closer, lost, reason, sent, went};
use super::{Finding, Story};
use crate::path::Path;

pub(super) fn rule(story: &Story) -> Option<Finding> {
    let certainty = went(story, Path::Disconnect)?;
    let who = closer(story);
    let summary =
        format!("{who} disconnected by connect(AF_UNSPEC): reset, {} discarded", bytes(story.undelivered()));
    let advice = format!(
        "in {who}: shutdown() and close() end a connection in order; connect(AF_UNSPEC) is for using a \
            socket again and costs the peer all that is on its way"
    );
    Some(
        Finding::new(Cause::Disconnect, summary)
            .with(certainty, reason(story, certainty))
            .saw_if(sent(story))
            .saw_if(lost(story))
            .advise(advice),
    )
}
