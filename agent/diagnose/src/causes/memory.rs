//! Memory for a socket was refused (`__sk_mem_raise_allocated`, tracepoint `sock_exceed_buf_limit`): by the
//! memory cgroup, which is asked first, or by `tcp_mem`.

use agent_correlate::timeline::What;
use agent_model::cause::Cause;
use agent_model::event::{CgroupMemory, Direction, TcpMemory};
use agent_model::signals::buf_limit_exceeded::Refusal;
use agent_model::units::plural;

use super::common::{owner, sent};
use super::shortage::{PageSize, cgroup, host, raise_tcp_mem};
use super::{Finding, Story};
use crate::Certainty;

pub(super) fn rule(story: &Story) -> Option<Finding> {
    let refusal = refused(story).filter(|_| !story.is_dead())?;
    let refusals = plural(story.connection?.totals().buf_limit_exceeded.max(1), "refusal");
    let (cause, certainty, why) = limit(story, refusal);
    let word = agent_model::words::direction(refusal.direction);
    let queues = story.raw().map(|raw| {
        format!(
            "receive memory {} of {}, send memory {} of {}",
            raw.rmem_alloc, raw.rcvbuf, raw.wmem_queued, raw.sndbuf
        )
    });
    let finding =
        Finding::new(cause, format!("memory to {word} was refused to a socket of {}", owner(story)))
            .saw(format!(
                "{refusals} of memory to {word}, TCP had {} pages with the refused ones",
                refusal.allocated
            ))
            .with(certainty, why)
            .saw_if(host(story))
            .saw_if(story.cgroup.map(cgroup))
            .saw_if(queues)
            .saw_if(sent(story))
            .infer(effect(refusal.direction));
    Some(advice(finding, story, cause))
}

/// The last refusal of a connection.
fn refused(story: &Story) -> Option<Refusal> {
    story
        .entries()
        .iter()
        .rev()
        .find_map(|entry| if let What::BufLimitExceeded(refusal) = entry.what { Some(refusal) } else { None })
}

fn effect(direction: Direction) -> &'static str {
    match direction {
        Direction::Send => {
            "send() waits, or gives EAGAIN though poll() calls the socket writable; nothing is lost"
        }
        Direction::Receive => "what arrived was dropped: the peer sends it again, or finds the window shut",
    }
}

fn limit(story: &Story, refusal: Refusal) -> (Cause, Certainty, String) {
    let Some(memory) = story.memory.filter(|memory| memory.tcp_mem().is_some()) else {
        let why = "host under TCP memory pressure, tcp_mem exceeded, or the cgroup's limit: the host's \
            limits were not told"
            .to_owned();
        return (Cause::MemoryPressure, Certainty::Inferred, why);
    };
    let Refusal { direction: _, allocated, pressure, in_cgroup } = refusal;
    let pages = u64::from(allocated);
    let [low, _, high] = memory.limits;
    let at = tcp_mem(pages, memory);
    if pages > high {
        (Cause::OutOfTcpMemory, Certainty::Observed, format!("{at}: above high"))
    } else if !in_cgroup {
        let why =
            format!("{at}: under pressure, and this socket has more than its share; it is in no cgroup");
        (Cause::MemoryPressure, Certainty::Observed, why)
    } else if pages <= low {
        let why = format!("{at}: not above low, where only a cgroup's limit refuses");
        (Cause::CgroupMemoryLimit, Certainty::Inferred, why)
    } else if pressure == Some(false) {
        let why = format!("{at}: TCP is not under pressure, so a cgroup's limit refused");
        (Cause::CgroupMemoryLimit, Certainty::Inferred, why)
    } else if has_its_share_only(story, memory) {
        let why = format!("{at}: this socket has no more than its share, so a cgroup's limit refused");
        (Cause::CgroupMemoryLimit, Certainty::Inferred, why)
    } else {
        let why = format!("{at}: under pressure, and this socket has more than its share");
        (Cause::MemoryPressure, Certainty::Inferred, why)
    }
}

fn tcp_mem(pages: u64, memory: &TcpMemory) -> String {
    let [low, pressure, high] = memory.limits;
    format!("{pages} pages, tcp_mem is {low} {pressure} {high}")
}

/// Under pressure the kernel still gives, if all sockets with as much as this one had room below high.
fn has_its_share_only(story: &Story, memory: &TcpMemory) -> bool {
    let Some(raw) = story.raw() else { return false };
    let bytes = i64::from(raw.rmem_alloc) + i64::from(raw.wmem_queued) + i64::from(raw.forward_alloc);
    let pages = PageSize::of(story).pages(bytes.max(0).cast_unsigned());
    memory.limits[2] > memory.sockets.saturating_mul(pages)
}

/// `cause` is one of those of [`limit`].
fn advice(finding: Finding, story: &Story, cause: Cause) -> Finding {
    if cause == Cause::CgroupMemoryLimit {
        finding
            .advise(raise_cgroup(story.cgroup))
            .advise("or have the program keep less in its sockets: their buffers count against the limit")
    } else {
        finding.advise(raise_tcp_mem(story)).advise(
            "or fewer connections, or smaller tcp_rmem[2] and tcp_wmem[2]: less throughput on long paths",
        )
    }
}

fn raise_cgroup(memory: Option<&CgroupMemory>) -> String {
    let Some(CgroupMemory { version, path, limit: Some(limit), .. }) = memory else {
        return "raise memory.max of the cgroup (in Kubernetes: the container's memory limit)".to_owned();
    };
    let file = if *version == 1 { "memory.kmem.tcp.limit_in_bytes" } else { "memory.max" };
    format!("raise {file} of {path}, now {limit}; it is taken from the rest of the host")
}
