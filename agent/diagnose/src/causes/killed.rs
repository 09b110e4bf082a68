//! `tcp_abort`: `ss -K`, `bpf_sock_destroy`, an Android network change. The socket's error is ECONNABORTED.

use agent_model::cause::Cause;
use agent_model::units::process;

use super::common::{lost, owner, reason, sent, state_then, went};
use super::{Finding, Story};
use crate::Certainty;
use crate::path::{ECONNABORTED, Path};

pub(super) fn rule(story: &Story) -> Option<Finding> {
    let aborted = story.is_dead() && story.error() == ECONNABORTED;
    let certainty = if aborted { Certainty::Observed } else { went(story, Path::Killed)? };
    let killer = story.connection.and_then(|connection| connection.ended_by.as_deref()).map(process);
    let by = killer.as_ref().map_or_else(|| "from outside".to_owned(), |killer| format!("by {killer}"));
    let evidence = if aborted {
        "the socket's error is ECONNABORTED, which only tcp_abort leaves".to_owned()
    } else {
        reason(story, certainty)
    };
    Some(
        Finding::new(Cause::Killed, format!("killed {by}, not by its own process {}", owner(story)))
            .with(certainty, evidence)
            .saw(state_then(story))
            .saw_if(killer.map(|killer| format!("the reset was sent while {killer} ran")))
            .saw_if(sent(story))
            .saw_if(lost(story))
            .advise(
                "find what runs `ss -K` or bpf_sock_destroy: an operator, a network policy agent, a \
                load balancer's drain; the connection itself had no fault",
            ),
    )
}
