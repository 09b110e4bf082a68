//! What is remembered of a socket between events: its owner and its totals.

use core::mem::MaybeUninit;

use agent_common::count::Socket;
use agent_common::owner;
use agent_common::record::{Task, Totals};

use crate::emit;
use crate::kernel::field;
use crate::maps::SOCKETS;
use crate::{memory, task};

/// The remembered socket, made if new. `None` (counted) if the map is full.
#[inline(always)]
pub fn touch(sk: *const u8, signal: u16) -> Option<&'static mut Socket> {
    if let Some(socket) = find(sk) {
        return Some(socket);
    }
    remember(sk, &Socket { owner: Task::NONE, totals: NO_TOTALS }, signal);
    find(sk)
}

/// The remembered socket.
#[inline(always)]
pub fn find(sk: *const u8) -> Option<&'static mut Socket> {
    // SAFETY: a map value: aligned, alive under RCU until the program ends. Events of one socket run
    // under its lock, so nobody else writes it.
    SOCKETS.get_ptr_mut(&(sk as u64)).map(|socket| unsafe { &mut *socket })
}

#[inline(always)]
fn remember(sk: *const u8, socket: &Socket, signal: u16) {
    if SOCKETS.insert(&(sk as u64), socket, 0).is_err() {
        emit::note(signal, |health| health.lost_socket += 1);
    }
}

/// A socket begins its life in the hands of the running process: connect() or listen().
#[inline(always)]
pub fn begin(sk: *const u8, how: u32, signal: u16) {
    let mut socket = MaybeUninit::<Socket>::uninit();
    let to = socket.as_mut_ptr();
    // SAFETY: space for a `Socket`, whose members are multiples of eight bytes; then all of it is written.
    unsafe {
        task::write_current(&raw mut (*to).owner, how);
        memory::clear(&raw mut (*to).totals);
        remember(sk, socket.assume_init_ref(), signal);
    }
}

/// Learns the owner if the task that runs holds the lock, since then it works on the socket, unless
/// something better is known.
#[inline(always)]
pub fn learn_holder(sk: *const u8, signal: u16) {
    if !is_owned(sk) {
        return;
    }
    if let Some(socket) = touch(sk, signal) {
        if socket.owner.how <= owner::LOCK {
            // SAFETY: a reference is space for what it refers to.
            unsafe { task::write_current(&raw mut socket.owner, owner::LOCK) };
        }
    }
}

/// Forgets a socket; its address is reused within milliseconds. Returns whether it was remembered.
#[inline(always)]
pub fn forget(sk: *const u8) -> bool {
    SOCKETS.remove(&(sk as u64)).is_ok()
}

/// Whether the running task holds the socket's lock, so that it is `current`'s doing
/// (`lock_sock_nested` sets `sk_lock.owned`; softirqs that work on the socket leave it 0).
#[inline(always)]
pub fn is_owned(sk: *const u8) -> bool {
    field!(sk, sk_owned, i32) != 0
}

/// Whether any of the totals says that the socket had trouble.
#[inline(always)]
pub fn is_troubled(totals: &Totals) -> bool {
    totals.resets_sent | totals.resets_received | totals.buf_limit_exceeded | totals.failed != 0
}

const NO_TOTALS: Totals = Totals {
    segments: [0; agent_common::retransmit::END as usize],
    failed: 0,
    resets_sent: 0,
    resets_received: 0,
    buf_limit_exceeded: 0,
};
