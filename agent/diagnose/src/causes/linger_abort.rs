//! The application asked for it: `SO_LINGER {1, 0}` makes `__tcp_close` call `tcp_disconnect`, and
//! `TCP_LINGER2` below 0 resets instead of waiting in FIN_WAIT2.

use agent_model::cause::Cause;
use agent_model::units::bytes;

use super::common::{after_failure, closer, closing, listener, lost, reason, sent, went};
use super::{Finding, Story};
use crate::Certainty;
use crate::path::Path;

pub(super) fn rule(story: &Story) -> Option<Finding> {
    linger(story).or_else(|| linger2(story))
}

fn linger(story: &Story) -> Option<Finding> {
    let certainty = went(story, Path::Linger)?;
    let option = story.lingers_not().then(|| "SO_LINGER is set with a time of 0".to_owned());
    Some(finding(story, certainty, "SO_LINGER {1, 0}").saw_if(option).advise(format!(
        "in {}: leave SO_LINGER unset, close() then sends what is queued and a FIN; that costs a \
            TIME_WAIT entry of 60 s, which is what most programs wanted to avoid: SO_REUSEADDR avoids \
            it for servers",
        closer(story)
    )))
}

fn linger2(story: &Story) -> Option<Finding> {
    let certainty = went(story, Path::Linger2)?;
    Some(finding(story, certainty, "TCP_LINGER2 below 0").advise(format!(
        "in {}: leave TCP_LINGER2 unset, the kernel then waits tcp_fin_timeout for the peer's FIN; that \
            costs a small TIME_WAIT entry",
        closer(story)
    )))
}

fn finding(story: &Story, certainty: Certainty, option: &str) -> Finding {
    let (who, undelivered) = (closer(story), story.undelivered());
    let summary = format!("{who} closed with {option}: reset, {} discarded", bytes(undelivered));
    let finding = Finding::new(Cause::LingerAbort, summary)
        .with(certainty, reason(story, certainty))
        .saw(closing(story))
        .saw_if(sent(story))
        .saw_if(listener(story))
        .saw_if(lost(story));
    after_failure(finding, story)
}
