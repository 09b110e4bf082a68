//! The peer sent after this side had closed. `close()` leaves the connection to a `TIME_WAIT` mini socket,
//! which resets whoever still sends (`tcp_v4_rcv`, reason TCP_TIMEWAIT_SOCKET); before that
//! `tcp_rcv_state_process` does (TCP_ABORT_ON_DATA).

use agent_model::cause::Cause;
use agent_model::units::bytes;

use super::common::{closer, listener, reason, sent, went};
use super::{Finding, Story};
use crate::Certainty;
use crate::path::Path;

pub(super) fn rule(story: &Story) -> Option<Finding> {
    let certainty = [Path::Data, Path::TimeWait]
        .into_iter()
        .find_map(|path| went(story, path))
        .or_else(|| late(story))?;
    let who = closer(story);
    let finding = Finding::new(
        Cause::DataAfterClose,
        format!("{who} had closed and the peer still sent: reset"),
    )
    .with(certainty, reason(story, certainty))
    .saw_if(trigger(story))
    .saw_if(sent(story))
    .saw_if(listener(story))
    .infer(
        "the peer's application gets EPIPE or ECONNRESET at its next send, and may lose what it had not read",
    );
    Some(advice(finding, &who))
}

/// A segment that finds no socket any more, of a connection that ended here.
fn late(story: &Story) -> Option<Certainty> {
    let ended =
        story.connection.is_some_and(|connection| connection.error == 0 && connection.died().is_some());
    went(story, Path::NoSocket).filter(|_| ended).map(|_| Certainty::Inferred)
}

fn trigger(story: &Story) -> Option<String> {
    let segment = story.reset()?.trigger?;
    Some(format!("the reset answers a segment with {}", bytes(segment.len)))
}

fn advice(finding: Finding, who: &str) -> Finding {
    finding
        .advise(format!(
            "in {who}: shutdown(fd, SHUT_WR) and read until 0 before close(), so that the \
            peer's last words are heard; bound it by a timeout, each waiting connection costs a \
            descriptor"
        ))
        .advise("or in the peer: stop sending once read() gives 0, which is this side's FIN")
}
