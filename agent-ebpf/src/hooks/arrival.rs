//! Where an accepted RST came from: the packet is given to `tcp_reset`, and its tracepoint does not pass it on.

use agent_common::record::ResetReceived;
use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;

use super::segment;
use crate::kernel::field;
use crate::maps::ARRIVED;

/// What was seen of a packet, until the tracepoint in the same function asks for it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Arrived {
    /// Address of the socket that it is for; 0 once it was asked for.
    sk: u64,
    seen: ResetReceived,
}

const NOT_SEEN: ResetReceived = ResetReceived { ifindex: 0, ttl: 0, peer_ttl: 0, reserved: [0; 2] };

/// Entry of `tcp_reset`, right before its tracepoint `tcp_receive_reset`. With the packet from 5.11 on. A RST that is
/// obeyed comes by no other hook: it is freed as used, not as dropped (6.18).
#[fentry(function = "tcp_reset")]
pub fn reset_segment(ctx: FEntryContext) -> i32 {
    let (sk, skb): (*const u8, *const u8) = (ctx.arg(0), ctx.arg(1));
    if let Some(slot) = ARRIVED.get_ptr_mut(0) {
        // SAFETY: a per-CPU map value, aligned. Who interrupts this program does not run it.
        unsafe { *slot = Arrived { sk: sk as u64, seen: seen(sk, skb) } };
    }
    0
}

/// Takes what was seen of the packet that resets `sk`. A softirq between the two programs leaves another's.
#[inline(always)]
pub fn take(sk: *const u8) -> ResetReceived {
    let Some(slot) = ARRIVED.get_ptr_mut(0) else { return NOT_SEEN };
    // SAFETY: as above.
    unsafe {
        if (*slot).sk != sk as u64 {
            return NOT_SEEN;
        }
        (*slot).sk = 0;
        (*slot).seen
    }
}

#[inline(always)]
fn seen(sk: *const u8, skb: *const u8) -> ResetReceived {
    let Some(packet) = segment::packet(skb) else { return NOT_SEEN };
    // Data after close takes this way too.
    if !packet.is_reset() {
        return NOT_SEEN;
    }
    let ifindex = field!(skb, skb_iif, u32, else 0);
    ResetReceived { ifindex, ttl: packet.ttl(), peer_ttl: unread_ttl(sk), reserved: [0; 2] }
}

/// Of the data that came first of what nobody has read.
#[inline(always)]
fn unread_ttl(sk: *const u8) -> u8 {
    if field!(sk, sk_receive_queue_len, u32, else 0) == 0 {
        return 0;
    }
    let first = field!(sk, sk_receive_queue_next, *const u8, else core::ptr::null());
    segment::packet(first).map_or(0, |packet| packet.ttl())
}
