//! `tcp_check_oom` at `close()`, or at a timer of a closed socket: more than `tcp_max_orphans`, or
//! `tcp_mem` used up. The reset has one reason for both (TCP_ABORT_ON_MEMORY).

use super::common::{lost, reason, sent, went};
use super::{Finding, Story};
use crate::diagnose::path::Path;
use crate::diagnose::{Cause, Certainty};

/// `SOCK_MIN_SNDBUF` (2 * (2048 + sizeof(struct sk_buff)) on 64 bit): a socket that holds less is not
/// blamed for `tcp_mem`.
const SOCK_MIN_SNDBUF: u32 = 4608;

pub(super) fn rule(story: &Story) -> Option<Finding> {
    let certainty = went(story, Path::Memory)?;
    let queued = story.raw().map_or(0, |raw| raw.wmem_queued);
    let (cause, sure, why) = which(story, queued);
    let summary = match cause {
        Cause::OutOfTcpMemory => {
            format!("TCP's memory is used up: a closed socket with {queued} bytes of memory was reset")
        }
        _ => "too many closed sockets: this one was reset".to_owned(),
    };
    Some(
        Finding::new(cause, summary)
            .with(certainty, reason(story, certainty))
            .with(sure, why)
            .saw_if(sent(story))
            .saw_if(lost(story))
            .advise(
                "`dmesg` has \"too many orphaned sockets\" or \"out of memory -- consider tuning \
                tcp_mem\", at most one line every 5 s",
            )
            .advise(
                "net.ipv4.tcp_max_orphans and tcp_mem can be raised, each orphan takes up to 64 \
                KiB; better: close() only once the peer has acknowledged (shutdown, then read until 0)",
            ),
    )
}

fn which(story: &Story, queued: u32) -> (Cause, Certainty, String) {
    if queued <= SOCK_MIN_SNDBUF {
        let why = format!(
            "the socket held {queued} bytes, too little to be blamed for tcp_mem: the limit is \
                tcp_max_orphans"
        );
        return (Cause::TooManyOrphans, Certainty::Inferred, why);
    }
    match story.memory {
        Some(memory) if memory.orphans <= memory.max_orphans / 4 => {
            let why = format!("{} orphans of {}: the limit is tcp_mem", memory.orphans, memory.max_orphans);
            (Cause::OutOfTcpMemory, Certainty::Inferred, why)
        }
        Some(memory) => {
            let why = format!(
                "{} orphans of {} (tcp_max_orphans; idle ones count up to four times)",
                memory.orphans, memory.max_orphans
            );
            (Cause::TooManyOrphans, Certainty::Inferred, why)
        }
        None => {
            let why = format!(
                "the socket held {queued} bytes: tcp_mem as likely as tcp_max_orphans, the host's \
                    numbers were not told"
            );
            (Cause::OutOfTcpMemory, Certainty::Inferred, why)
        }
    }
}
