//! Memory for a socket was refused (`__sk_mem_raise_allocated`, tracepoint `sock_exceed_buf_limit`). Which
//! limit refused shows only in `tcp_mem`: at most low, and it was not the host's; above high, and it was.

use super::common::{owner, sent};
use super::{Finding, Story};
use crate::correlate::timeline::What;
use crate::diagnose::wording::plural;
use crate::diagnose::{Cause, Certainty};
use crate::event::Direction;

pub(super) fn rule(story: &Story) -> Option<Finding> {
    let (direction, pages) = refused(story).filter(|_| !story.is_dead())?;
    let refusals = plural(story.connection?.totals().buf_limit_exceeded.max(1), "refusal");
    let (cause, certainty, why) = limit(story, pages);
    let word = crate::export::words::direction(direction);
    let raw = story.raw();
    let queues = raw.map(|raw| {
        format!(
            "receive memory {} of {}, send memory {} of {}",
            raw.rmem_alloc, raw.rcvbuf, raw.wmem_queued, raw.sndbuf
        )
    });
    Some(advice(
        Finding::new(cause, format!("memory to {word} was refused to a socket of {}", owner(story)))
            .saw(format!("{refusals} of memory to {word}, TCP had {pages} pages with the refused ones"))
            .with(certainty, why)
            .saw_if(queues)
            .saw_if(sent(story)),
        cause,
    ))
}

fn refused(story: &Story) -> Option<(Direction, u32)> {
    story.entries().iter().rev().find_map(|entry| match entry.what {
        What::BufLimitExceeded { direction, allocated } => Some((direction, allocated)),
        _ => None,
    })
}

fn limit(story: &Story, pages: u32) -> (Cause, Certainty, String) {
    let Some(memory) = story.memory else {
        let why = "host under TCP memory pressure, tcp_mem exceeded, or the cgroup's limit: the host's \
            limits were not told"
            .to_owned();
        return (Cause::MemoryPressure, Certainty::Inferred, why);
    };
    let [low, pressure, high] = memory.limits;
    let told = format!("{pages} pages, tcp_mem is {low} {pressure} {high}");
    match u64::from(pages) {
        pages if pages > high => (Cause::OutOfTcpMemory, Certainty::Observed, format!("{told}: above high")),
        pages if pages <= low => (
            Cause::CgroupMemoryLimit,
            Certainty::Inferred,
            format!("{told}: not above low, so a cgroup's limit refused"),
        ),
        _ => (
            Cause::MemoryPressure,
            Certainty::Inferred,
            format!("{told}: under pressure, and this socket has more than its share"),
        ),
    }
}

fn advice(finding: Finding, cause: Cause) -> Finding {
    match cause {
        Cause::CgroupMemoryLimit => finding.advise(
            "raise memory.max of the cgroup, or have the program \
            keep less in its sockets: their buffers count against it",
        ),
        Cause::OutOfTcpMemory => finding.advise(
            "net.ipv4.tcp_mem: raise high where memory is free \
            (pages of 4 KiB, taken from all else); or fewer connections, or smaller tcp_rmem[2] and \
            tcp_wmem[2]",
        ),
        _ => finding.advise(
            "see which limit it is: `cat /proc/net/sockstat /proc/sys/net/ipv4/tcp_mem` \
            and memory.events of the cgroup; then more memory there, or smaller socket buffers",
        ),
    }
}
