//! Life of a socket: `inet_sk_set_state` and `tcp_v4_destroy_sock`.
//!
//! These two run for every connection of a healthy host, so they write no record unless the connection
//! had trouble: they learn owners and forget the dead. A trouble is recorded once: a socket that a reset
//! closed says no more, and a destroyed one only where sockets have no cookie to be distinguished by.

use agent_common::record::StateChanged;
use agent_common::{owner, signal};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use super::{IPPROTO_TCP, sched};
use crate::kernel::{fact, field};
use crate::snapshot::Full;
use crate::storm::Permit;
use crate::{emit, hooks, snapshot, socket, task};

const TCP_SYN_SENT: i32 = 2;
const TCP_FIN_WAIT1: i32 = 4;
const TCP_CLOSE: i32 = 7;
const TCP_LAST_ACK: i32 = 9;
const TCP_LISTEN: i32 = 10;

const EPIPE: i32 = 32;
const ECONNRESET: i32 = 104;
const ECONNREFUSED: i32 = 111;

/// Before the state is stored. `->CLOSE` comes after the local port was given back, with `sk_err` set.
/// TIME_WAIT never shows: the socket goes to CLOSE and a mini socket takes over.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn state_changed(ctx: BtfTracePointContext) -> i32 {
    let sk: *const u8 = ctx.arg(0);
    let (old, new): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    // An MPTCP socket (protocol 262) is no tcp_sock; its subflows come here by themselves.
    if field!(sk, sk_protocol, u16) != IPPROTO_TCP {
        return 0;
    }
    match (old, new) {
        // connect() runs in its caller. The local port is not chosen yet, and nothing has happened.
        (TCP_CLOSE, TCP_SYN_SENT) => {
            socket::begin(sk, owner::CONNECT, signal::STATE_CHANGED);
            return 0;
        }
        // So does listen().
        (TCP_CLOSE, TCP_LISTEN) => {
            socket::begin(sk, owner::LISTEN, signal::STATE_CHANGED);
            sched::watch(task::process_id());
        }
        // And close(), when it sends the FIN.
        (_, TCP_FIN_WAIT1 | TCP_LAST_ACK) => socket::learn_holder(sk, signal::STATE_CHANGED),
        _ => (),
    }
    let tp = snapshot::tcp_sock(sk);
    if !tp.is_null() && is_worth_recording(tp, old, new) {
        record(Full { sk, tp }, old, new);
    }
    0
}

/// Listeners, failed connects, errors, and whatever happens to a connection that had trouble before.
#[inline(always)]
fn is_worth_recording(tp: *const u8, old: i32, new: i32) -> bool {
    if old == TCP_LISTEN || new == TCP_LISTEN {
        // A child is born in LISTEN->SYN_RECV with its listener's identity: no news.
        return new == TCP_LISTEN || new == TCP_CLOSE;
    }
    if new == TCP_CLOSE && is_recorded_by_reset(tp) {
        return false;
    }
    (old == TCP_SYN_SENT && new == TCP_CLOSE) || field!(tp, sk_err, i32) != 0 || had_trouble(tp)
}

/// `tcp_reset` sets one of these and closes the socket right after `reset_received`, from whose state
/// the errno follows.
#[inline(always)]
fn is_recorded_by_reset(tp: *const u8) -> bool {
    matches!(field!(tp, sk_err, i32), EPIPE | ECONNRESET | ECONNREFUSED)
        && socket::find(tp).is_some_and(|socket| socket.totals.resets_received != 0)
}

#[inline(always)]
fn had_trouble(tp: *const u8) -> bool {
    field!(tp, tcp_total_retrans, u32) != 0
        || field!(tp, icsk_probes_out, u8) != 0
        || socket::find(tp).is_some_and(|socket| socket::is_troubled(&socket.totals))
}

#[inline(always)]
fn record(full: Full, old: i32, new: i32) {
    let Full { sk, tp: _ } = full;
    let counted = hooks::count_socket(sk, signal::STATE_CHANGED, new as u16, &hooks::ONE);
    let Some(mut entry) = hooks::tcp_record(full, counted, socket::find(sk)) else { return };
    let detail = StateChanged {
        old: old as u32,
        new: new as u32,
        accept_queue: field!(sk, sk_ack_backlog, u32),
        backlog: field!(sk, sk_max_ack_backlog, u32),
    };
    // SAFETY: reserved space for a `TcpRecord`.
    unsafe { (*entry.as_mut_ptr()).record.detail.state_changed = detail };
    emit::submit(signal::STATE_CHANGED, entry);
}

/// `tcp_v4_destroy_sock`, once for every full TCP socket, listeners too. Its address is free after this.
/// Recorded only before 5.12: later a new cookie shows that another socket lives there.
#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn sock_destroyed(ctx: BtfTracePointContext) -> i32 {
    let sk: *const u8 = ctx.arg(0);
    let tp = snapshot::tcp_sock(sk);
    if tp.is_null() {
        return 0;
    }
    if fact!(socket_cookie) == 0
        && had_trouble(tp)
        && let Some(entry) =
            hooks::tcp_record_with(Permit::free(signal::SOCK_DESTROYED), Full { sk, tp }, socket::find(sk))
    {
        emit::submit(signal::SOCK_DESTROYED, entry);
    }
    socket::forget(tp);
    0
}
