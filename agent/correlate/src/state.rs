//! What an event says of a socket's state and of its error.

use agent_model::event::{Detail, KernelEvent, TcpState};

/// `tcp_reset` (net/ipv4/tcp_input.c): a refused connect().
const ECONNREFUSED: i32 = 111;
/// `tcp_reset`: the peer had closed, and the application still wrote.
const EPIPE: i32 = 32;
/// `tcp_reset`: any other state.
const ECONNRESET: i32 = 104;

/// Whether a full socket in this state lives: not closed, and no mini socket's.
pub fn is_alive(state: TcpState) -> bool {
    state != TcpState::Close && state != TcpState::TimeWait
}

/// The errno that the event leaves for the application: that of an accepted RST follows from the state.
pub fn error(event: &KernelEvent) -> Option<i32> {
    if !matches!(event.detail, Detail::ResetReceived(_)) {
        return Some(event.errno()).filter(|&err| err != 0);
    }
    match event.state_before()? {
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
