//! What an event says of a socket's state and of its error.

use agent_model::event::{Detail, KernelEvent, TcpState};

/// `tcp_reset` (net/ipv4/tcp_input.c): a refused connect().
const ECONNREFUSED: i32 = 111;
/// `tcp_reset`: the peer had closed, and the application still wrote.
const EPIPE: i32 = 32;
/// `tcp_reset`: any other state.
const ECONNRESET: i32 = 104;

/// The socket's own state at the event; a half-open connection's is not its socket's.
pub fn before(event: &KernelEvent) -> Option<TcpState> {
    event.endpoint.state.filter(|_| !event.endpoint.request)
}

/// The socket's state once the kernel is done with what the event tells.
pub fn after(event: &KernelEvent) -> Option<TcpState> {
    match event.detail {
        Detail::StateChanged { new, .. } => Some(new),
        // `tcp_reset` closes the socket right after, which is not told once more.
        Detail::ResetReceived => Some(TcpState::Close),
        Detail::Retransmit { .. }
        | Detail::SynackRetransmit { .. }
        | Detail::ResetSent { .. }
        | Detail::BufLimitExceeded { .. }
        | Detail::RcvqueueFull { .. }
        | Detail::PacketDropped { .. }
        | Detail::SockDestroyed => before(event),
    }
}

/// Whether a full socket in this state lives: not closed, and no mini socket's.
pub fn is_alive(state: TcpState) -> bool {
    state != TcpState::Close && state != TcpState::TimeWait
}

/// The errno that the event leaves for the application: that of an accepted RST follows from the state.
pub fn error(event: &KernelEvent) -> Option<i32> {
    if !matches!(event.detail, Detail::ResetReceived) {
        return event.tcp.as_ref().map(|tcp| tcp.raw.err).filter(|&err| err != 0);
    }
    match before(event)? {
        TcpState::SynSent => Some(ECONNREFUSED),
        TcpState::CloseWait => Some(EPIPE),
        TcpState::Close => None,
        TcpState::Established
        | TcpState::SynRecv
        | TcpState::FinWait1
        | TcpState::FinWait2
        | TcpState::TimeWait
        | TcpState::LastAck
        | TcpState::Listen
        | TcpState::Closing
        | TcpState::NewSynRecv => Some(ECONNRESET),
    }
}
