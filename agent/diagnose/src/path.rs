//! Which function of the kernel decided to send a reset (docs/kernel.md, "Why a reset is sent").

use agent_model::event::TcpState;

use super::Certainty::{self, Inferred, Observed};
use super::story::{Reset, Story};

/// ECONNABORTED, which `tcp_abort` leaves in `sk_err`.
pub(super) const ECONNABORTED: i32 = 103;

/// A reason for which the kernel sends a reset, by the function that decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// `__tcp_close`: unread data.
    UnreadData,
    /// `__tcp_close` -> `tcp_disconnect`: `SO_LINGER` with no time.
    Linger,
    /// `TCP_LINGER2` below 0.
    Linger2,
    /// `tcp_disconnect` from `connect(AF_UNSPEC)`.
    Disconnect,
    /// `tcp_abort`.
    Killed,
    /// `inet_csk_listen_stop`.
    ListenerClosed,
    /// `tcp_keepalive_timer` of a closed socket in FIN_WAIT2.
    FinWait2,
    /// `tcp_keepalive_timer`: probes unanswered.
    Keepalive,
    /// `tcp_check_oom`: too many orphans, or no memory.
    Memory,
    /// `tcp_rcv_state_process`: data after close.
    Data,
    /// `tcp_v4_rcv`: a segment for a `TIME_WAIT` socket.
    TimeWait,
    /// `tcp_v4_rcv`: no such socket.
    NoSocket,
    /// `tcp_check_req`: a SYN within a handshake, or the accept queue overflowed.
    Request,
    /// An ACK to a listener.
    ToListener,
    /// Something in the handshake that does not fit.
    Handshake,
    /// Another.
    Other,
}

/// Why the kernel sent the story's last reset.
pub(super) fn path(story: &Story) -> Option<(Path, Certainty)> {
    let reset = story.reset()?;
    Some(match reset.reason {
        Some(reason) => by_reason(reason, story, &reset),
        None if reset.active => (active(story, &reset), Inferred),
        None => (passive(story, &reset), Inferred),
    })
}

fn by_reason(reason: &str, story: &Story, reset: &Reset) -> (Path, Certainty) {
    let path = match reason {
        "TCP_ABORT_ON_CLOSE" => Path::UnreadData,
        "TCP_ABORT_ON_LINGER" => Path::Linger2,
        "TCP_ABORT_ON_MEMORY" => Path::Memory,
        "TCP_KEEPALIVE_TIMEOUT" => Path::Keepalive,
        "TCP_TIMEWAIT_SOCKET" => Path::TimeWait,
        "NO_SOCKET" => Path::NoSocket,
        "INVALID_SYN" => Path::Request,
        "TCP_FLAGS" => Path::ToListener,
        "TCP_INVALID_ACK_SEQUENCE"
        | "TCP_RFC7323_PAWS"
        | "TCP_TOO_OLD_ACK"
        | "TCP_OLD_ACK"
        | "TCP_ACK_UNSENT_DATA" => Path::Handshake,
        "TCP_ABORT_ON_DATA" => return data_or_linger2(story),
        "TCP_STATE" | "TCP_DISCONNECT_WITH_DATA" => return disconnected(story, reset),
        _ => Path::Other,
    };
    (path, Observed)
}

/// With `TCP_LINGER2` below 0 the reset goes out when the FIN is acknowledged, for the same reason.
fn data_or_linger2(story: &Story) -> (Path, Certainty) {
    let linger2 = story.raw().is_some_and(|raw| raw.linger2 < 0);
    if linger2 { (Path::Linger2, Inferred) } else { (Path::Data, Observed) }
}

/// Four of them have the reason `TCP_STATE`; the kernel stack shows which one it was.
fn disconnected(story: &Story, reset: &Reset) -> (Path, Certainty) {
    match by_stack(story) {
        Some(path) => (path, Observed),
        None => (by_state(story, reset), Inferred),
    }
}

fn by_stack(story: &Story) -> Option<Path> {
    let ways = [
        ("inet_csk_listen_stop", Path::ListenerClosed),
        ("tcp_abort", Path::Killed),
        ("tcp_keepalive_timer", Path::FinWait2),
        ("__tcp_close", Path::Linger),
        ("tcp_close", Path::Linger),
        ("tcp_disconnect", Path::Disconnect),
    ];
    ways.into_iter().find(|(function, _)| story.went_through(function)).map(|(_, path)| path)
}

fn by_state(story: &Story, reset: &Reset) -> Path {
    let is_closed = reset.state.is_none_or(|state| state == TcpState::Close);
    if reset.state == Some(TcpState::FinWait2) && story.is_orphan() {
        Path::FinWait2
    } else if !is_closed || story.error() == ECONNABORTED {
        Path::Killed
    } else if story.was_never_accepted() {
        Path::ListenerClosed
    } else if story.lingers_not() {
        Path::Linger
    } else {
        Path::Disconnect
    }
}

/// Before 6.10. The order is that of `__tcp_close`, which tests unread data before linger.
fn active(story: &Story, reset: &Reset) -> Path {
    if let Some(path) = active_by_stack(story) {
        return path;
    }
    let unread = story.tcp().is_some_and(|tcp| tcp.unread_bytes() > 0);
    let closed = reset.state == Some(TcpState::Close);
    let linger2 =
        story.live_state() == Some(TcpState::FinWait2) && story.raw().is_some_and(|raw| raw.linger2 < 0);
    match () {
        () if closed && unread => Path::UnreadData,
        () if closed && story.lingers_not() => Path::Linger,
        () if closed && linger2 => Path::Linger2,
        () if !closed && probes(story) => Path::Keepalive,
        () if story.is_orphan() => Path::Memory,
        () => by_state(story, reset),
    }
}

/// The stack decides, except for `__tcp_close` alone, which resets for three reasons.
fn active_by_stack(story: &Story) -> Option<Path> {
    by_stack(story).filter(|path| match path {
        Path::ListenerClosed | Path::Killed | Path::Disconnect => true,
        Path::Linger => story.went_through("tcp_disconnect"),
        Path::UnreadData
        | Path::Linger2
        | Path::FinWait2
        | Path::Keepalive
        | Path::Memory
        | Path::Data
        | Path::TimeWait
        | Path::NoSocket
        | Path::Request
        | Path::ToListener
        | Path::Handshake
        | Path::Other => false,
    })
}

fn probes(story: &Story) -> bool {
    story.keeps_alive() && story.raw().is_some_and(|raw| raw.probes_out > 0)
}

fn passive(story: &Story, reset: &Reset) -> Path {
    let time_wait = story.stray.is_some_and(|stray| stray.event.endpoint.time_wait);
    let Some(state) = reset.state else { return Path::NoSocket };
    if time_wait {
        return Path::TimeWait;
    }
    match state {
        TcpState::TimeWait => Path::TimeWait,
        TcpState::Listen | TcpState::NewSynRecv => Path::ToListener,
        TcpState::SynSent | TcpState::SynRecv => Path::Handshake,
        TcpState::Established
        | TcpState::FinWait1
        | TcpState::FinWait2
        | TcpState::Close
        | TcpState::CloseWait
        | TcpState::LastAck
        | TcpState::Closing => Path::Data,
    }
}
