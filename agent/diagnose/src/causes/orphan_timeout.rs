//! The application closed, and the peer did not take the rest, or never closed its side.

use agent_model::cause::Cause;
use agent_model::units::{bytes, jiffies, plural};

use super::common::{lost, reason, sent, timeouts, went};
use super::silence::is_silent;
use super::{Finding, Story};
use crate::path::Path;

/// `tcp_orphan_retries`
pub(super) fn rule(story: &Story) -> Option<Finding> {
    (is_silent(story) && story.is_orphan()).then_some(())?;
    let tcp = story.tcp()?;
    let stage = plural(story.stage(), "timeout");
    let summary =
        format!("closed here, and no answer to {stage} with {} not delivered", bytes(story.undelivered()));
    Some(
        Finding::new(Cause::OrphanTimeout, summary)
            .saw("no process has the socket open any more")
            .saw(format!("tcp_orphan_retries is {} (0 stands for 8)", tcp.netns.orphan_retries))
            .saw_if(timeouts(story))
            .saw_if(sent(story))
            .saw_if(lost(story))
            .advise(
                "if the last bytes matter: shutdown(fd, SHUT_WR) and read until 0 before close(), \
                nobody is told of a loss after it",
            )
            .advise(
                "net.ipv4.tcp_orphan_retries: fewer free memory sooner, and cut off slow peers in \
                their last bytes",
            ),
    )
}

/// `tcp_fin_timeout`, `TCP_LINGER2`: the peer never closed.
pub(super) fn fin_wait2(story: &Story) -> Option<Finding> {
    let certainty = went(story, Path::FinWait2)?;
    let limit = story.tcp().map_or_else(String::new, |tcp| jiffies(tcp.netns.fin_timeout, story.host.hz));
    Some(
        Finding::new(Cause::OrphanTimeout, format!("closed here, and the peer did not close within {limit}"))
            .with(certainty, reason(story, certainty))
            .saw(format!("tcp_fin_timeout is {limit}"))
            .saw_if(sent(story))
            .infer("all that was sent had been acknowledged: nothing was lost on this side")
            .advise(
                "find why the peer keeps its side open after it read 0: it leaks descriptors in CLOSE_WAIT",
            ),
    )
}
