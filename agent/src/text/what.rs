//! The last words of a line: what matters about the event. Facts of the kernel only; causes are diagnosed
//! elsewhere.

use std::time::Duration;

use agent_model::drops::{self, Class};
use agent_model::escape::Escaped;
use agent_model::event::{RetransmitKind, TcpFlags, TcpState};
use agent_model::signals::reset_sent::{self, ExitSection};
use agent_model::signals::{ListenerQueues, RcvqueueFull, packet_dropped, retransmit};
use agent_model::units::wait;
use agent_model::words;
use agent_model::words::EventWord;

use crate::schema::{Deadline, Gap, GapWord, Line, Tcp, Totals};

/// A SYN that the kernel found no socket for, or a port without a listener after all were looked at.
const NOBODY: &str = "nobody listens";

/// Comma-separated, may be empty.
pub(super) fn words(line: &Line) -> String {
    let mut notes = Vec::new();
    if line.stands_for > 1 {
        notes.push(format!("{} events", line.stands_for));
    }
    own(line, &mut notes);
    notes.join(", ")
}

macro_rules! by_word {
    (
        events { $($(#[$doc:meta])* $NUMBER:ident $word:ident $Variant:ident { $($column:tt)* })* }
        $($others:tt)*
    ) => {
        /// One function a signal, of its name.
        fn own(line: &Line, notes: &mut Vec<String>) {
            match line.event { $(EventWord::$Variant => $word(line, notes),)* }
        }
    };
}

agent_common::signals! { by_word }

/// Events that have no line of their own.
pub(super) fn gap(gap: &Gap) -> String {
    let Gap { v: _, event, signal, count, netns, cgroup: _, port, detail } = gap;
    let detail = detail.iter().map(|detail| format!(" {}", Escaped(detail)));
    let place = port.iter().map(|port| format!(" on port {port}"));
    let place = place.chain(netns.iter().map(|netns| format!(" of network namespace {netns}")));
    let what: String = detail.chain(place).collect();
    match event {
        GapWord::Lost => {
            format!("({count} lines lost in the ring: {}{what}, counted with the next)", Escaped(signal))
        }
        GapWord::Coalesced => format!("({count} more events in a storm: {}{what})", Escaped(signal)),
    }
}

fn retransmit(line: &Line, notes: &mut Vec<String>) {
    let Some(sent) = &line.sections.retransmit else { return };
    notes.extend(failure(sent));
    let Some(tcp) = &line.tcp else { return };
    bytes(notes, &[(tcp.unacked_bytes, "unacked"), (tcp.unsent_bytes, "unsent")]);
    if tcp.snd_wnd == 0 && sent.kind != RetransmitKind::Syn {
        notes.push("peer's window is 0".to_owned());
    }
    circumstances(tcp, notes);
}

fn failure(sent: &retransmit::Section) -> Option<String> {
    match sent.err {
        0 => None,
        1 => Some("dropped by the local queue".to_owned()),
        errno => Some(format!("not sent: {}", words::errno(errno))),
    }
}

fn circumstances(tcp: &Tcp, notes: &mut Vec<String>) {
    if tcp.orphan {
        notes.push("closed by its process".to_owned());
    }
    notes.extend(tcp.soft_error.as_ref().map(|error| format!("{} by ICMP", Escaped(error))));
}

fn synack_retransmit(line: &Line, notes: &mut Vec<String>) {
    notes.extend(line.sections.listener.iter().flat_map(queues));
    let deadline = line.outlook.as_ref().and_then(|outlook| outlook.deadline.as_ref());
    notes.extend(deadline.map(|deadline| given_up(line, deadline)));
}

fn state_changed(line: &Line, notes: &mut Vec<String>) {
    let error = line.sections.state_change.as_ref().and_then(|change| change.error.as_ref());
    notes.extend(error.map(|error| Escaped(error).to_string()));
    notes.extend(line.sections.listener.iter().flat_map(queues));
}

/// How long a half-open connection has left.
fn given_up(line: &Line, deadline: &Deadline) -> String {
    let left = deadline.earliest.duration_since(line.time).as_millis().max(0).unsigned_abs();
    let left = wait(Duration::from_millis(left.try_into().unwrap_or(u64::MAX)));
    format!("given up in {left} by {}", deadline.rule.as_str())
}

/// The kernel refuses once the queue exceeds its limit (`sk_acceptq_is_full`).
fn queues(listener: &ListenerQueues) -> impl Iterator<Item = String> {
    let ListenerQueues { syn_queue, accept_queue, backlog } = *listener;
    let full = if accept_queue > backlog { "full: " } else { "" };
    let accept = format!("accept queue {full}{accept_queue} of {backlog}");
    syn_queue.map(|queue| format!("syn queue {queue}")).into_iter().chain([accept])
}

fn reset_sent(line: &Line, notes: &mut Vec<String>) {
    let Some(reset) = &line.sections.reset else { return };
    notes.extend(reset.exit.as_ref().map(exit));
    let meaning = reset.reason.as_deref().and_then(|reason| meaning(reason, reset));
    notes.extend(meaning.map(str::to_owned));
    if reset.reason.as_deref() == Some("NO_SOCKET") && meaning != Some(NOBODY) {
        notes.extend((reset.listening == Some(false)).then(|| NOBODY.to_owned()));
    }
    let of = |count: Option<u32>| count.unwrap_or_default();
    let counts =
        [(reset.unread_bytes, "unread"), (reset.unacked_bytes, "unacked"), (reset.unsent_bytes, "unsent")];
    bytes(notes, &counts.map(|(count, word)| (of(count), word)));
}

/// How its process ended.
fn exit(exit: &ExitSection) -> String {
    match exit {
        ExitSection { oom: true, .. } => "killed by the OOM killer".to_owned(),
        ExitSection { signal: Some(signal), .. } => format!("killed by {signal}"),
        ExitSection { status, .. } => format!("exited with status {}", status.unwrap_or_default()),
    }
}

/// What the kernel's reason says by itself (`include/net/rstreason.h`, and the places that give it).
fn meaning(reason: &str, reset: &reset_sent::Section) -> Option<&'static str> {
    let trigger = reset.trigger.as_ref();
    Some(match reason {
        "NO_SOCKET" if trigger.is_some_and(|segment| segment.flags == TcpFlags::SYN) => NOBODY,
        "NO_SOCKET" => "no such connection",
        "TCP_INVALID_ACK_SEQUENCE" => "the answer to our SYN acknowledges something else",
        "TCP_RFC7323_PAWS" => "timestamp out of range in the answer to our SYN",
        "TCP_TOO_OLD_ACK" | "TCP_OLD_ACK" => "old ACK in the handshake",
        "TCP_ACK_UNSENT_DATA" => "ACK of what was never sent",
        "TCP_FLAGS" => "ACK to a listener: no such connection",
        "TCP_ABORT_ON_DATA" if trigger.is_some_and(|segment| segment.len > 0) => "data after close",
        "TCP_TIMEWAIT_SOCKET" => "segment after close",
        "INVALID_SYN" => "half-open connection refused",
        "TCP_ABORT_ON_CLOSE" => "closed before all was read",
        "TCP_ABORT_ON_LINGER" => "closed with TCP_LINGER2 below 0",
        "TCP_ABORT_ON_MEMORY" => "out of TCP memory, or too many orphans",
        "TCP_STATE" => "aborted",
        "TCP_KEEPALIVE_TIMEOUT" => "keepalive probes not answered",
        "TCP_DISCONNECT_WITH_DATA" => "disconnected before all was sent",
        _ => return None,
    })
}

/// In `SYN_SENT` a reset is the answer to the SYN; later it may also be our own, on data after the close.
fn reset_received(line: &Line, notes: &mut Vec<String>) {
    if line.state == Some(TcpState::SynSent) {
        notes.push("refused by the peer".to_owned());
    }
    let Some(tcp) = &line.tcp else { return };
    if line.state != Some(TcpState::SynSent) {
        bytes(
            notes,
            &[(tcp.unacked_bytes, "unacked"), (tcp.unsent_bytes, "unsent"), (tcp.unread_bytes, "unread")],
        );
    }
}

fn buf_limit_exceeded(line: &Line, notes: &mut Vec<String>) {
    let Some(memory) = &line.sections.memory else { return };
    let pressure = if memory.pressure == Some(true) { ", under pressure" } else { "" };
    let protocol = Escaped(&memory.protocol);
    notes.push(format!("{} pages in use by {protocol}{pressure}", memory.allocated));
}

fn packet_dropped(line: &Line, notes: &mut Vec<String>) {
    let Some(drop) = &line.sections.drop else { return };
    notes.extend(drop_meaning(&drop.reason).map(str::to_owned));
    notes.extend(where_dropped(line, drop));
    notes.extend(line.sections.listener.iter().flat_map(queues));
    let Some(tcp) = &line.tcp else { return };
    if drops::class(&drop.reason) == Class::Shortage {
        notes.push(format!("receive memory {} of {}", tcp.rmem_alloc, tcp.rcvbuf));
        bytes(notes, &[(tcp.unread_bytes, "unread")]);
    } else {
        bytes(notes, &[(tcp.unacked_bytes, "unacked"), (tcp.unsent_bytes, "unsent")]);
    }
}

/// `in OUTPUT (nft_do_chain)`, and where that was, if not where the line's socket is.
fn where_dropped(line: &Line, drop: &packet_dropped::Section) -> Option<String> {
    let function = drop.function.as_ref().map(|function| Escaped(function).to_string());
    let place = match (&drop.hook, function) {
        (Some(hook), Some(function)) => Some(format!("in {hook} ({function})")),
        (Some(hook), None) => Some(format!("in {hook}")),
        (None, Some(function)) => Some(format!("in {function}")),
        (None, None) => None,
    };
    let elsewhere = drop.netns.filter(|netns| *netns != line.netns);
    let elsewhere = elsewhere.map(|netns| format!("of network namespace {netns}"));
    let words: Vec<_> = place.into_iter().chain(elsewhere).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// What the kernel's reason for a drop says by itself (`include/net/dropreason-core.h`).
fn drop_meaning(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "PROTO_MEM" => "no room for what was received, or no memory",
        "SOCKET_BACKLOG" => "backlog full while the process holds the socket",
        "SOCKET_RCVBUFF" => "receive buffer full",
        "TCP_LISTEN_OVERFLOW" => "no room for a finished handshake",
        "TCP_OFO_QUEUE_PRUNE" => "thrown out of the queue of what came out of order",
        "TCP_ZEROWINDOW" => "data although the window is shut",
        "NETFILTER_DROP" => "by a firewall rule of this host",
        "IP_OUTNOROUTES" | "IP_INNOROUTES" => "no route",
        "NEIGH_FAILED" => "the next hop does not answer",
        "NEIGH_QUEUEFULL" => "the next hop has not answered yet, and the queue for it is full",
        "QDISC_DROP" | "QDISC_OVERLIMIT" => "no room in the device's queue",
        "IP_RPFILTER" => "by the reverse path filter (rp_filter)",
        "TCP_CSUM" => "wrong TCP checksum",
        "PKT_TOO_BIG" => "longer than the MTU",
        "TC_INGRESS" | "TC_EGRESS" => "by a filter of tc",
        "XDP" => "by an XDP program",
        "BPF_CGROUP_EGRESS" => "by a BPF program of its cgroup",
        "SOCKET_FILTER" => "by a filter of its socket",
        "TCP_MD5NOTFOUND" | "TCP_AONOTFOUND" => "without the signature that its receiver wants",
        "TCP_MD5FAILURE" | "TCP_AOFAILURE" => "signed with another key",
        "CPU_BACKLOG" => "no room in the processor's backlog",
        _ => return None,
    })
}

fn rcvqueue_full(line: &Line, notes: &mut Vec<String>) {
    let Some(RcvqueueFull { rmem_alloc, rcvbuf, truesize }) = &line.sections.queue else { return };
    let protocol = line.protocol.map(|number| format!("IP protocol {number}, ")).unwrap_or_default();
    notes.push(format!("{protocol}{rmem_alloc} of {rcvbuf} in use, {truesize} more refused"));
}

fn sock_destroyed(line: &Line, notes: &mut Vec<String>) {
    let Some(totals) = &line.totals else { return };
    let Totals { segments, failed, resets_sent, resets_received, buf_limit_exceeded, dropped } = totals;
    let counts = [
        (segments.values().fold(0, |sum: u32, count| sum.saturating_add(*count)), "sent again"),
        (*failed, "failed to be sent again"),
        (*resets_sent, "resets sent"),
        (*resets_received, "resets received"),
        (*buf_limit_exceeded, "memory refusals"),
        (*dropped, "segments dropped"),
    ];
    bytes(notes, &counts);
}

/// What there is any of.
fn bytes(notes: &mut Vec<String>, counts: &[(u32, &str)]) {
    let there = counts.iter().filter(|(count, _)| *count > 0);
    notes.extend(there.map(|(count, word)| format!("{count} {word}")));
}
