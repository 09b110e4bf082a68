//! The only writer of the ring.

use agent_common::count::Health;
use agent_common::record::Header;
use aya_ebpf::bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::maps::ring_buf::RingBufEntry;

use crate::maps::{EVENTS, HEALTH};
use crate::storm::Permit;

/// The reader is woken at most this often, ns. Waking a sleeping task costs microseconds, a record a
/// third of one. The daemon keeps looking for longer than this after the last record it saw
/// (`source::ring::LINGER`), so a record that wakes nobody is never left behind.
const WAKE_INTERVAL: u64 = 10_000_000;

/// When the reader was last woken. Races between CPUs cost a wake-up, nothing more. Not an atomic: LLVM's
/// BPF backend cannot select an atomic load.
static mut LAST_WAKE: u64 = 0;

/// Space for a `T` in the ring, or a counted loss.
#[inline(always)]
pub fn reserve<T: 'static>(permit: Permit) -> Option<RingBufEntry<T>> {
    let entry = EVENTS.reserve::<T>(0);
    if entry.is_none() {
        note(permit.signal(), |health| health.lost_ring += 1);
        permit.give_back();
    }
    entry
}

/// Hands a filled entry, a `Record` or `TcpRecord`, to the daemon.
#[inline(always)]
pub fn submit<T>(signal: u16, entry: RingBufEntry<T>) {
    note(signal, |health| health.written += 1);
    // SAFETY: every record starts with its header, and that is filled first.
    let time = unsafe { (*entry.as_ptr().cast::<Header>()).time };
    entry.submit(u64::from(wake_flags(time)));
}

#[inline(always)]
fn wake_flags(now: u64) -> u32 {
    // SAFETY: a 64-bit access is one instruction.
    unsafe {
        if now.wrapping_sub((&raw const LAST_WAKE).read_volatile()) < WAKE_INTERVAL {
            return BPF_RB_NO_WAKEUP;
        }
        (&raw mut LAST_WAKE).write_volatile(now);
    }
    BPF_RB_FORCE_WAKEUP
}

/// Changes this CPU's row of `signal`.
#[inline(always)]
pub fn note(signal: u16, change: impl FnOnce(&mut Health)) {
    if let Some(row) = HEALTH.get_ptr_mut(u32::from(signal)) {
        // SAFETY: a per-CPU value of an array map: present, aligned, and ours until the program ends.
        change(unsafe { &mut *row });
    }
}
