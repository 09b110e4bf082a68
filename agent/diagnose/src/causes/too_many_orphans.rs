//! `tcp_check_oom` at `close()`, or at a timer of a closed socket: more than `tcp_max_orphans`, or
//! `tcp_mem` used up. The reset has one reason for both (TCP_ABORT_ON_MEMORY).

use agent_model::cause::Cause;
use agent_model::event::TcpMemory;
use agent_model::units::{escaped, size};

use super::common::{lost, reason, sent, went};
use super::shortage::{host, orphans, raise_tcp_mem};
use super::{Finding, Story};
use crate::Certainty;
use crate::path::Path;

/// `SOCK_MIN_SNDBUF` (2 * (2048 + sizeof(struct sk_buff)) on 64 bit): a socket that holds less is not
/// blamed for `tcp_mem`.
const SOCK_MIN_SNDBUF: u32 = 4608;

pub(super) fn rule(story: &Story) -> Option<Finding> {
    let certainty = went(story, Path::Memory)?;
    let queued = story.raw().map_or(0, |raw| raw.wmem_queued);
    let (cause, sure, why) = which(story, queued);
    let summary = if cause == Cause::OutOfTcpMemory {
        format!("TCP's memory is used up: a closed socket with {queued} bytes of memory was reset")
    } else {
        "too many closed sockets: this one was reset".to_owned()
    };
    Some(
        Finding::new(cause, summary)
            .with(certainty, reason(story, certainty))
            .with(sure, why)
            .saw_if(story.memory.map(orphans))
            .saw_if(whose(story, cause))
            .saw_if(host(story))
            .saw_if(sent(story))
            .saw_if(lost(story))
            .advise(
                "close() only once the peer has acknowledged (shutdown, then read until 0): an open socket is \
                no orphan, and its process sees what becomes of the data",
            )
            .advise(raise(story, cause)),
    )
}

/// Owners that are named.
const NAMED: usize = 3;

/// `closed sockets reset for it since the agent's start: 9 of nginx of pod web-7d9f4c, 1 of curl`
fn whose(story: &Story, cause: Cause) -> Option<String> {
    let all = story.orphans.by_owner();
    let (named, rest) = all.split_at(all.len().min(NAMED));
    let others = story.orphans.others() + rest.iter().map(|(_, count)| count).sum::<u64>();
    let others = (others > 0).then(|| format!("{others} of others"));
    let named = named.iter().map(|(name, count)| format!("{count} of {}", escaped(name)));
    let owners = named.chain(others).collect::<Vec<_>>().join(", ");
    let known = cause == Cause::TooManyOrphans && !owners.is_empty();
    known.then(|| format!("closed sockets reset for it since the agent's start: {owners}"))
}

fn raise(story: &Story, cause: Cause) -> String {
    if cause != Cause::TooManyOrphans {
        return raise_tcp_mem(story);
    }
    let Some(limit) = story.memory.and_then(TcpMemory::orphans_limit) else {
        return "net.ipv4.tcp_max_orphans: raise it; each orphan may take 64 KiB that no process answers for"
            .to_owned();
    };
    let twice = limit.saturating_mul(2);
    format!(
        "`sysctl net.ipv4.tcp_max_orphans={twice}`, twice as now: each orphan may take 64 KiB that no process \
        answers for, {} in all",
        size(twice.saturating_mul(64 << 10))
    )
}

/// The kernel gave its reason after it had reset as many as it took: there may be few orphans now, but TCP's memory
/// does not fall as fast, and its log names the limit.
fn which(story: &Story, queued: u32) -> (Cause, Certainty, String) {
    let (cause, why) = match story.memory {
        _ if queued <= SOCK_MIN_SNDBUF => (
            Cause::TooManyOrphans,
            format!(
                "the socket held {queued} bytes, too little to be blamed for tcp_mem: the limit is tcp_max_orphans"
            ),
        ),
        Some(memory) => {
            let (cause, why) = limit(memory);
            (cause, why.to_owned())
        }
        None => (
            Cause::OutOfTcpMemory,
            format!(
                "the socket held {queued} bytes: tcp_mem as likely as tcp_max_orphans, the host's numbers were not told"
            ),
        ),
    };
    (cause, Certainty::Inferred, why)
}

fn limit(memory: &TcpMemory) -> (Cause, &'static str) {
    let lines = memory.log.map(|log| (log.too_many_orphans, log.out_of_memory));
    let high = memory.tcp_mem().map(|[.., high]| high);
    let most = memory.orphans_limit();
    if matches!(lines, Some((1.., 0))) {
        return (Cause::TooManyOrphans, "the kernel log names that limit: \"too many orphaned sockets\"");
    }
    if matches!(lines, Some((0, 1..))) {
        return (Cause::OutOfTcpMemory, "the kernel log names that limit: \"out of memory\"");
    }
    if high.is_some_and(|high| memory.pages <= high / 2) {
        return (Cause::TooManyOrphans, "TCP has not half of tcp_mem's high: the limit is tcp_max_orphans");
    }
    // Idle ones count up to four times (`tcp_out_of_resources`).
    if most.is_some_and(|most| memory.orphans <= most / 4) {
        return (Cause::OutOfTcpMemory, "orphans are far from their limit: the limit is tcp_mem");
    }
    let above = high.is_some_and(|high| memory.pages > high);
    if above && most.is_some_and(|most| memory.orphans <= most) {
        return (Cause::OutOfTcpMemory, "TCP has more than tcp_mem's high: that is the limit");
    }
    (Cause::TooManyOrphans, "orphans are at their limit, of which idle ones count up to four times")
}
