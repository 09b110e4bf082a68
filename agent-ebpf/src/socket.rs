//! What is remembered of a socket between events: its owner and its totals.

use core::mem::MaybeUninit;

use agent_common::count::Socket;
use agent_common::owner;
use agent_common::record::{Task, Totals};
use aya_ebpf::bindings::BPF_NOEXIST;

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
    SOCKETS.get_ptr_mut(sk as u64).map(|socket| unsafe { &mut *socket })
}

#[inline(always)]
fn remember(sk: *const u8, socket: &Socket, signal: u16) {
    if SOCKETS.insert(sk as u64, socket, 0).is_err() {
        emit::note(signal, |health| health.lost_socket += 1);
    }
}

/// A socket begins its life in the hands of the running process: connect() or listen().
#[inline(always)]
pub fn begin(sk: *const u8, how: u32, signal: u16) {
    let mut socket = MaybeUninit::uninit();
    // SAFETY: a whole owner is written.
    let socket = unsafe { without_totals(&mut socket, |owner| task::write_current(owner, how)) };
    remember(sk, socket, signal);
}

/// A socket that nothing has happened to, of the owner that `write` writes.
///
/// # Safety
/// `write` writes the whole of what it is given.
#[inline(always)]
unsafe fn without_totals(socket: &mut MaybeUninit<Socket>, write: impl FnOnce(*mut Task)) -> &Socket {
    let to = socket.as_mut_ptr();
    // SAFETY: space for a `Socket`, all of which is written.
    unsafe {
        write(&raw mut (*to).owner);
        memory::clear(&raw mut (*to).totals);
        socket.assume_init_ref()
    }
}

/// A walk found the socket among a process's open files. Whoever is known better stays, and whoever was
/// found first: holders beside it are the daemon's to keep. The file keeps the socket alive meanwhile, so
/// what is remembered here is forgotten at its `tcp_destroy_sock`.
#[inline(always)]
pub fn found(sk: *const u8, holder: Task) {
    // To look takes no lock.
    if find(sk).is_some() {
        return;
    }
    let mut socket = MaybeUninit::uninit();
    // SAFETY: a whole owner is written.
    let found = unsafe { without_totals(&mut socket, |owner| owner.write(holder)) };
    // Refused if it became known meanwhile; a full map is reported by sockets that have trouble.
    let _ = SOCKETS.insert(sk as u64, found, u64::from(BPF_NOEXIST));
}

/// Learns the owner if the task that runs holds the lock, since then it works on the socket, unless
/// something better is known.
#[inline(always)]
pub fn learn_holder(sk: *const u8, signal: u16) {
    if !is_owned(sk) {
        return;
    }
    if let Some(socket) = touch(sk, signal)
        && socket.owner.how <= owner::LOCK
    {
        // SAFETY: a reference is space for what it refers to.
        unsafe { task::write_current(&raw mut socket.owner, owner::LOCK) };
    }
}

/// Forgets a socket; its address is reused within milliseconds. Returns whether it was remembered.
#[inline(always)]
pub fn forget(sk: *const u8) -> bool {
    SOCKETS.remove(sk as u64).is_ok()
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
    let Totals { resets_sent, resets_received, buf_limit_exceeded, failed, dropped, .. } = totals;
    resets_sent | resets_received | buf_limit_exceeded | failed | dropped != 0
}

const NO_TOTALS: Totals = Totals {
    segments: [0; agent_common::retransmit::END as usize],
    failed: 0,
    resets_sent: 0,
    resets_received: 0,
    buf_limit_exceeded: 0,
    dropped: 0,
    reserved: 0,
};
