//! A listener's queues overflow: the accept queue (`sk_acceptq_is_full`) or that of half-open connections
//! (`inet_csk_reqsk_queue_is_full`). Both have the backlog of `listen()` as their limit.

use agent_correlate::listeners::Listener;
use agent_model::cause::Cause;
use agent_model::event::{Detail, TcpFlags};
use agent_model::signals::{PacketDropped, SynackRetransmit};
use agent_model::units::{amount, plural, process};

use super::common::{left, owner};
use super::shortage::PageSize;
use super::silence::{given_up, is_silent};
use super::{Finding, Story};
use crate::path::Path;
use crate::{Certainty, backlog};

/// What a SYN-ACK sent again shows of its listener.
struct Queues {
    accept: u32,
    syn: u32,
    backlog: u32,
}

pub(super) fn rule(story: &Story) -> Option<Finding> {
    match queues(story) {
        // The kernel refuses once the queue exceeds its limit.
        Some(queues) if queues.accept > queues.backlog => Some(accept_full(story, &queues)),
        _ if is_overflow(story) => Some(overflow(story)),
        Some(queues) if queues.syn >= queues.backlog && queues.backlog > 0 => Some(syn_full(story, &queues)),
        _ => None,
    }
}

/// `tcp_check_req` resets for two reasons: a SYN within the handshake, or no room for the connection with
/// `tcp_abort_on_overflow` set.
fn is_overflow(story: &Story) -> bool {
    let segment = story.reset().and_then(|reset| reset.trigger);
    let request = matches!(story.path(), Some((Path::Request, _)));
    request && segment.is_some_and(|segment| !segment.flags.contains(TcpFlags::SYN))
}

/// Of a SYN-ACK sent again, or of a half-open connection that was reset (`tcp_abort_on_overflow`).
fn queues(story: &Story) -> Option<Queues> {
    let stray = story.stray?;
    match stray.event.detail {
        Detail::PacketDropped(PacketDropped { accept_queue, backlog, .. })
            if stray.event.endpoint.request =>
        {
            Some(Queues { accept: accept_queue, syn: 0, backlog })
        }
        Detail::SynackRetransmit(SynackRetransmit { accept_queue, syn_queue, backlog, .. }) => {
            Some(Queues { accept: accept_queue, syn: syn_queue, backlog })
        }
        Detail::ResetSent(_) => {
            let request = matches!(story.path(), Some((Path::Request | Path::ToListener, _)));
            story.listener().filter(|_| request).map(|listener| of(listener))
        }
        Detail::PacketDropped(_)
        | Detail::Retransmit(_)
        | Detail::ResetReceived(_)
        | Detail::BufLimitExceeded(_)
        | Detail::RcvqueueFull(_)
        | Detail::StateChanged(_)
        | Detail::SockDestroyed(_) => None,
    }
}

fn of(listener: &Listener) -> Queues {
    Queues { accept: listener.accept_queue, syn: listener.syn_queue, backlog: listener.backlog }
}

fn who(story: &Story) -> String {
    let owner = story.listener().and_then(|listener| listener.owner.as_ref());
    let owner = owner
        .map(|owner| &owner.process)
        .or(story.stray.and_then(|stray| stray.owner.as_ref()).map(|owner| &owner.process));
    owner.map_or_else(|| "the listening process".to_owned(), process)
}

fn is_reset(story: &Story) -> bool {
    story.reset().is_some()
}

/// A `connect()` without an answer whose listener lives on this host, its queue full: a listener that has no room drops
/// the SYN without a word.
pub(super) fn seen_by_client(story: &Story) -> Option<Finding> {
    let connection = story.connection.filter(|_| is_silent(story) || given_up(story))?;
    let there = &story.listeners_there;
    let full = there.iter().find(|listener| is_full(listener))?;
    let (accept, backlog) = (full.accept_queue, full.backlog);
    let name = full
        .owner
        .as_ref()
        .map_or_else(|| "the listening process".to_owned(), |owner| process(&owner.process));
    let one_of =
        if there.len() > 1 { format!(", one of {} that listen there,", there.len()) } else { String::new() };
    let remote = connection.identity.remote();
    let summary = format!(
        "{name}{one_of} does not accept on {remote}: {accept} connections wait, its backlog is {backlog}; the connect() of \
            {} has no answer to {}",
        owner(story),
        plural(story.stage(), "SYN")
    );
    let others = there.iter().filter(|listener| !is_full(listener)).count();
    let finding = Finding::new(Cause::AcceptQueueFull, summary)
        .saw(format!("the accept queue of {remote} on this host has {accept} of {backlog} (it is full above its limit)"))
        .saw_if((others > 0).then(|| {
            format!("{} on the same port (SO_REUSEPORT) have room; the kernel chooses by the client's address and port",
                amount(others as u64, "other listener", "other listeners"))
        }))
        .infer("a full accept queue drops SYNs without an answer: nothing is wrong with the network")
        .advise(format!("find what {name} does instead of accept(): gdb -p or py-spy, a lock, a slow request"));
    Some(if story.is_dead() { finding } else { finding.saw(left(story)) })
}

fn is_full(listener: &Listener) -> bool {
    listener.accept_queue > listener.backlog
}

/// Without the queue's length, which a reset does not show.
fn overflow(story: &Story) -> Finding {
    let who = who(story);
    let remote = story.stray.map_or_else(String::new, |stray| format!(" of {}", stray.event.endpoint.remote));
    let backlog = story.listener().map(|listener| listener.backlog);
    Finding::new(
        Cause::AcceptQueueFull,
        format!("{who} does not accept fast enough: the finished handshake{remote} was reset"),
    )
    .saw("the reset answers the ACK that finishes a handshake: tcp_abort_on_overflow is set")
    .saw_if(backlog.map(|backlog| format!("its backlog is {backlog}")))
    .infer("the accept queue was full (no memory for one more socket would look the same)")
    .infer("the client was connected for a moment and gets ECONNRESET; this is no refused connection")
    .advise(format!("in {who}: accept() sooner; a longer queue only hides that it is slow"))
    .advise(longer(story, backlog.unwrap_or(0)))
    .advise(
        "net.ipv4.tcp_abort_on_overflow=0: the client's next segment then tries again, at the cost of \
            its waiting",
    )
}

fn accept_full(story: &Story, queues: &Queues) -> Finding {
    let Queues { accept, backlog, .. } = *queues;
    let who = who(story);
    let certainty = if is_reset(story) { Certainty::Inferred } else { Certainty::Observed };
    Finding::new(
        Cause::AcceptQueueFull,
        format!(
            "{who} does not accept fast enough: {accept} \
        connections wait, its backlog is {backlog}"
        ),
    )
    .with(certainty, format!("the accept queue has {accept} of {backlog} (it is full above its limit)"))
    .saw_if(synack(story))
    .saw_if(dropped(story))
    .saw_if(counted(story))
    .saw_if(is_reset(story).then(|| {
        "the half-open connection was reset: tcp_abort_on_overflow is \
            set, or the client's ACK came for a request that the listener had dropped"
            .to_owned()
    }))
    .infer(
        "the client believes that it is connected, the kernel drops its last ACK and sends the \
            SYN-ACK again; this is no refused connection",
    )
    .advise(format!(
        "in {who}: accept() sooner (more threads or processes, or no slow work between \
            two accepts); a longer queue only hides it"
    ))
    .advise(longer(story, backlog))
}

/// With what it may take of the host's memory, for whoever thinks that memory is the reason not to.
fn longer(story: &Story, backlog: u32) -> String {
    let proposed = backlog::larger(backlog.into());
    let [rcvbuf, high] = story
        .memory
        .map_or([0; 2], |memory| [memory.buffers.tcp_rmem[1], PageSize::of(story).bytes(memory.limits[2])]);
    format!(
        "for bursts: listen() with {proposed}, and net.core.somaxconn{} at least as high; {}, and the clients' \
            patience",
        somaxconn(story),
        backlog::cost(proposed, rcvbuf, high)
    )
}

/// `, now 4096,` of the agent's network namespace.
fn somaxconn(story: &Story) -> String {
    let now = story.memory.map(|memory| memory.buffers.somaxconn).filter(|now| *now > 0);
    now.map_or_else(String::new, |now| format!(" (the host's is {now})"))
}

fn dropped(story: &Story) -> Option<String> {
    let stray = story.stray?;
    let is_drop = matches!(stray.event.detail, Detail::PacketDropped(_));
    let remote = stray.event.endpoint.remote;
    is_drop.then(|| format!("the last ACK of the handshake with {remote} was dropped (TCP_LISTEN_OVERFLOW)"))
}

/// Counters of the agent's own network namespace say nothing of another's.
fn counted(story: &Story) -> Option<String> {
    let memory = story.memory?;
    let overflows = memory.counter("ListenOverflows").filter(|count| *count > 0)?;
    Some(format!("the host counts {} (ListenOverflows, since it booted)", plural(overflows, "overflow")))
}

fn syn_full(story: &Story, queues: &Queues) -> Finding {
    let Queues { syn, backlog, .. } = *queues;
    let who = who(story);
    Finding::new(
        Cause::SynQueueFull,
        format!(
            "{syn} half-open connections at the listener of {who}, \
        its backlog is {backlog}"
        ),
    )
    .saw(format!("half-open connections: {syn}, limit {backlog}"))
    .saw_if(synack(story))
    .infer(
        "clients do not answer the SYN-ACK: spoofed SYNs (a flood), or SYN-ACKs lost on the way \
            back; the kernel shortens their life or sends SYN cookies",
    )
    .advise(
        "leave net.ipv4.tcp_syncookies at 1: no client is refused, but options other than MSS \
            are lost without timestamps",
    )
    .advise(format!(
        "if the clients are honest and slow: listen() with more than {backlog}, with \
            net.core.somaxconn and tcp_max_syn_backlog as high; 300 bytes each"
    ))
}

fn synack(story: &Story) -> Option<String> {
    let stray = story.stray?;
    let stage = stray.stage?;
    Some(format!("the SYN-ACK to {} was sent again {}", stray.event.endpoint.remote, plural(stage, "time")))
}
