//! Evidence that several causes have.

use std::time::Duration;

use agent_model::event::{Exit, OwnerSource, TcpState};
use agent_model::timers::Timer;
use agent_model::units::{bytes, errno, from_jiffies, plural, process, state, time, wait};
use agent_model::words;

use super::Finding;
use crate::Certainty;
use crate::path::Path;
use crate::story::Story;

/// How sure it is that the last reset went this way; `None` if it went another.
pub fn went(story: &Story, path: Path) -> Option<Certainty> {
    story.path().filter(|(way, _)| *way == path).map(|(_, certainty)| certainty)
}

/// `child[55]`, of a connection that was never accepted its listener's process, `its process`.
pub fn closer(story: &Story) -> String {
    let listens =
        || story.listener().and_then(|listener| listener.owner.as_ref()).map(|owner| &owner.process);
    story.closer().or_else(listens).map_or_else(|| "its process".to_owned(), process)
}

/// The process that owns the connection, and by what it is known.
pub fn owner(story: &Story) -> String {
    let Some(owner) = story.owner() else { return "its process".to_owned() };
    let doubt =
        if owner.source == OwnerSource::Listener { " (known as the listener's process only)" } else { "" };
    format!("{}{doubt}", process(&owner.process))
}

/// Which words of the kernel name the way: its reason, or the stack.
pub fn reason(story: &Story, certainty: Certainty) -> String {
    let given = story.reset().and_then(|reset| reset.reason);
    match (given, certainty) {
        (Some(reason), Certainty::Observed) => format!("the kernel's reason for the reset is {reason}"),
        (Some(reason), Certainty::Inferred) => {
            format!(
                "the kernel's reason for the reset, {reason}, has several causes; the socket's \
                flags and state name this one"
            )
        }
        (None, _) => "this kernel gives no reason for a reset (before 6.10); it follows from the stack, \
            flags and state of the socket"
            .to_owned(),
    }
}

/// `4096 bytes acknowledged by the peer, 1448 sent and not acknowledged, 100 never sent`.
pub fn sent(story: &Story) -> Option<String> {
    story.tcp()?;
    let (unacked, unsent) = story.waiting();
    let delivered = bytes(story.delivered());
    Some(format!(
        "{delivered} acknowledged by the peer, {unacked} sent and not acknowledged, {unsent} never sent"
    ))
}

/// What the end cost.
pub fn lost(story: &Story) -> Option<String> {
    let lost = story.undelivered();
    (lost > 0).then(|| format!("{} were never acknowledged; the peer may not have them", bytes(lost)))
}

/// Who listens there and, of a forking server, whose child closed.
pub fn listener(story: &Story) -> Option<String> {
    let listener = story.listener()?;
    let who = listener
        .owner
        .as_ref()
        .map_or_else(|| "an unknown process".to_owned(), |owner| process(&owner.process));
    let parent =
        listener.owner.as_ref().zip(story.closer()).filter(|(owner, closer)| owner.process.pid != closer.pid);
    let child = parent.map_or(
        "",
        |_| "; another process than the one that ended the connection (a forked child, as a rule)",
    );
    Some(format!("it was accepted from the listener on {} of {who}{child}", listener.endpoint.local))
}

/// How the process ended that closed its sockets by ending.
pub fn exit(story: &Story) -> Option<Exit> {
    story.reset()?.exit
}

/// `lab-child[55] called close()`, or that it ended, which closes too.
pub fn closing(story: &Story) -> String {
    let who = closer(story);
    exit(story).map_or_else(
        || format!("{who} called close()"),
        |exit| format!("{who} {} and its sockets closed", words::ended(exit)),
    )
}

/// What its process met just before it closed, which may be why.
pub fn after_failure(finding: Finding, story: &Story) -> Finding {
    let (Some(failed), Some(connection)) = (story.failed_before, story.connection) else { return finding };
    let ago =
        connection.died().zip(failed.died()).map_or(0, |(closed, failed)| closed.saturating_sub(failed));
    let (id, remote) = (failed.id, failed.identity.remote());
    let what = if failed.live_state == Some(TcpState::SynSent) { "connect()" } else { "connection" };
    finding
        .saw(format!(
            "{} before, its {what} to {remote} failed with {}: connection {id}",
            time(Duration::from_nanos(ago)),
            errno(failed.error)
        ))
        .with(Certainty::Inferred, "it may have closed this one because that one failed, as proxies do")
        .advise(format!("look at that one first: tcpwhy why --id {id}"))
}

/// What would let a process live that was killed, or end in order; `None` of one that exited by itself.
pub fn live_on(exit: Exit) -> Option<String> {
    let signal = i32::from(exit.signal()?);
    let advice = match signal {
        _ if exit.oom => {
            "raise the memory limit of its cgroup (in Kubernetes: the container's), or have it take less: the \
                kernel log has what it took when the OOM killer chose it"
        }
        libc::SIGKILL | libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT => {
            "find what killed it; on SIGTERM it should stop accepting, answer what it has, and only then end (in \
                Kubernetes a preStop hook and terminationGracePeriodSeconds give it the time)"
        }
        _ => "it crashed: find why in its log or its core dump",
    };
    Some(advice.to_owned())
}

/// Processes that still have it open beside the one that ended it.
pub fn holders(story: &Story) -> Option<String> {
    let holders = story.connection?.holders.named();
    let closer = story.closer().map(|closer| closer.pid);
    let others: Vec<_> = holders.iter().filter(|holder| Some(holder.process.pid) != closer).collect();
    let names =
        others.iter().map(|holder| format!("{} (parent {})", process(&holder.process), holder.parent));
    (!others.is_empty()).then(|| format!("also held by {}", names.collect::<Vec<_>>().join(", ")))
}

/// What a living connection waits for in vain: `3 timeouts`, `2 keepalive probes`; `None` if for nothing.
pub fn unanswered(story: &Story) -> Option<String> {
    let outlook = story.outlook.filter(|_| !story.is_dead())?;
    let word = match outlook.timer {
        Timer::Probe0 => "probe",
        Timer::Keepalive => "keepalive probe",
        Timer::Retransmit | Timer::ShrunkWindow | Timer::FinWait2 | Timer::Synack | Timer::None => "timeout",
    };
    let count = match outlook.timer {
        Timer::Probe0 | Timer::Keepalive => outlook.stage,
        Timer::Retransmit | Timer::ShrunkWindow | Timer::FinWait2 | Timer::Synack | Timer::None => {
            story.stage()
        }
    };
    (count > 0).then(|| plural(count, word))
}

/// `the kernel gives up in 15min 39s by tcp_retries2`.
pub fn left(story: &Story) -> String {
    let limit = story.outlook.and_then(|outlook| Some((outlook.rule, outlook.death?)));
    limit.map_or_else(
        || "no limit ends it".to_owned(),
        |(rule, death)| {
            let left = Duration::from_nanos(death.earliest.saturating_sub(story.time));
            format!("the kernel gives up in {} by {}", wait(left), rule.as_str())
        },
    )
}

/// The state in which the end found it.
pub fn state_then(story: &Story) -> String {
    format!("the connection was in {}", state(story.live_state()))
}

/// How long the agent had known it.
pub fn known_for(story: &Story) -> Option<String> {
    let connection = story.connection?;
    let nanos = story.time.saturating_sub(connection.first);
    (nanos > 0).then(|| format!("its first trouble was {} before", time(Duration::from_nanos(nanos))))
}

/// Timeouts of the last stall and what they waited for.
pub fn timeouts(story: &Story) -> Option<String> {
    let burnt = story.timeouts();
    let total: u64 = burnt.iter().map(|(_, rto)| u64::from(*rto)).sum();
    let each: Vec<_> =
        burnt.iter().map(|(_, rto)| agent_model::units::jiffies(*rto, story.host.hz)).collect();
    let total = from_jiffies(total.try_into().ok()?, story.host.hz)?;
    Some(format!("timeouts burnt: {} ({} together)", each.join(", "), time(total)))
}
