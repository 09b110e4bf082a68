//! `__tcp_close` finds data that nobody read: it must reset, so that the peer learns that it was lost
//! (RFC 1122 §4.2.2.13, MIB `TCPAbortOnClose`).

use agent_model::cause::Cause;
use agent_model::event::Tcp;
use agent_model::units::bytes;
use agent_model::words;

use super::common::{after_failure, closer, closing, exit, holders, listener, live_on, reason, sent, went};
use super::{Finding, Story};
use crate::path::Path;

pub(super) fn rule(story: &Story) -> Option<Finding> {
    let certainty = went(story, Path::UnreadData)?;
    let unread = unread(story);
    let undelivered = story.undelivered();
    let who = closer(story);
    let closed =
        exit(story).map_or_else(|| "closed with".to_owned(), |exit| format!("{},", words::ended(exit)));
    let lost = bytes(undelivered);
    let summary = format!("{who} {closed} {unread} unread: reset, {lost} lost to the peer");
    let finding = Finding::new(Cause::ClosedWithUnreadData, summary)
        .with(certainty, reason(story, certainty))
        .saw(format!("{} with {unread} in the receive queue", closing(story)))
        .saw_if(sent(story))
        .saw_if(listener(story))
        .saw_if(holders(story))
        .infer(lost_to_the_peer(undelivered));
    Some(advice(after_failure(finding, story), story, &unread))
}

/// How much was unread. What a subflow of MPTCP received lies in the MPTCP socket, which nobody reads here.
fn unread(story: &Story) -> String {
    let unread = story.tcp().map_or(0, Tcp::unread_bytes);
    let is_subflow = story.raw().is_some_and(|raw| raw.is_mptcp == 1);
    if is_subflow && unread == 0 {
        "some data (MPTCP: how much, only its own socket knows)".to_owned()
    } else {
        bytes(unread)
    }
}

fn lost_to_the_peer(undelivered: u32) -> String {
    format!(
        "the reset takes {} from the peer; what lies in its receive queue a Linux peer still reads before the error",
        bytes(undelivered)
    )
}

fn advice(finding: Finding, story: &Story, unread: &str) -> Finding {
    // Of one that was killed it says nothing how it closes.
    if let Some(live_on) = exit(story).and_then(live_on) {
        return finding.advise(live_on);
    }
    let read = format!(
        "in {}: shutdown(fd, SHUT_WR), then read until 0 (here {unread}), then close(); it costs one \
            round trip and a thread or an event for as long as the peer sends, so bound it by a timeout",
        closer(story),
    );
    finding.advise(read).advise(
        "if the unread bytes are a request that nobody wants: answer and read it up to a limit; \
            SO_LINGER does not help, the reset comes first",
    )
}
