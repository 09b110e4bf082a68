//! Something was seen, and no rule recognises it: what was seen and what was not.

use agent_model::cause::Cause;
use agent_model::units::{errno, state};

use super::common::sent;
use super::{Finding, Story};

pub(super) fn rule(story: &Story) -> Option<Finding> {
    let reset = story.reset();
    if !story.is_dead() || (story.error() == 0 && reset.is_none()) {
        return None;
    }
    let how = reset.map(|reset| {
        let side = if reset.active { "by itself" } else { "in answer to a segment" };
        let reason = reset.reason.unwrap_or("no reason told");
        format!("this host sent a reset {side} in {}: {reason}", state(reset.state))
    });
    let error = (story.error() != 0).then(|| format!("the socket's error is {}", errno(story.error())));
    let not = "no kernel path that tcpwhy knows fits; no RST was received, no timeout explains it";
    let stack = (!story.stack.is_empty()).then(|| format!("kernel stack: {}", story.stack.join(" < ")));
    Some(
        Finding::new(
            Cause::Unknown,
            format!("ended in {} for a reason not recognised", state(story.live_state())),
        )
        .saw_if(how)
        .saw_if(error)
        .saw_if(sent(story))
        .saw_if(stack)
        .infer(not)
        .advise("record it (`tcpwhy record`) and report it with the recording"),
    )
}
