//! Dropped packets: `net/core/skbuff.c`.

use agent_common::record::{PacketDropped, Record};
use agent_common::signal;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use super::{TCP_LISTEN, segment};
use crate::kernel::{fact, field};
use crate::snapshot::Full;
use crate::storm::{self, Counted};
use crate::{emit, hooks, snapshot, socket};

const TCP_TIME_WAIT: u8 = 6;
const TCP_NEW_SYN_RECV: u8 = 12;

/// `kfree_skb_reason` and `sk_skb_reason_drop` (5.17+), as the last reference goes. Every packet of the host
/// that somebody throws away comes here, so nothing is done before the reason is one of those that tell of
/// a socket without memory or room. From 6.11 on with the socket that did not take it.
#[btf_tracepoint(function = "kfree_skb")]
pub fn packet_dropped(ctx: BtfTracePointContext) -> i32 {
    let reason: u32 = ctx.arg(2);
    if !is_told(reason) {
        return 0;
    }
    let skb: *const u8 = ctx.arg(0);
    let sk: *const u8 = if fact!(drop_socket) == 0 { core::ptr::null() } else { ctx.arg(3) };
    let dropped =
        PacketDropped { reason, truesize: field!(skb, skb_truesize, u32), accept_queue: 0, backlog: 0 };
    if sk.is_null() {
        bare(skb, segment::netns_inum(skb), dropped, |_| ());
        return 0;
    }
    match field!(sk, skc_state, u8) {
        TCP_TIME_WAIT | TCP_NEW_SYN_RECV => bare(skb, snapshot::netns_inum(sk), dropped, |_| ()),
        TCP_LISTEN => listener(sk, skb, dropped),
        _ => full(sk, dropped),
    }
    0
}

/// One bit of a frozen global: nothing else is looked at for a packet of no interest.
#[inline(always)]
fn is_told(reason: u32) -> bool {
    let [first, second, third, fourth] = fact!(drop_reasons);
    let word = match reason / 32 {
        0 => first,
        1 => second,
        2 => third,
        3 => fourth,
        _ => 0,
    };
    (word >> (reason % 32)) & 1 != 0
}

#[inline(always)]
fn full(sk: *const u8, dropped: PacketDropped) {
    let counted = hooks::count_socket(sk, signal::PACKET_DROPPED, dropped.reason as u16, &hooks::ONE);
    let tp = snapshot::any_tcp_sock(sk);
    if tp.is_null() {
        return other_protocol(sk, counted, dropped);
    }
    let mut socket = socket::touch(sk, signal::PACKET_DROPPED);
    if let Some(socket) = &mut socket {
        socket.totals.dropped += 1;
    }
    let Some(mut entry) = hooks::tcp_record(Full { sk, tp }, counted, socket) else { return };
    // SAFETY: reserved space for a `TcpRecord`.
    unsafe { (*entry.as_mut_ptr()).record.detail.packet_dropped = dropped };
    emit::submit(signal::PACKET_DROPPED, entry);
}

#[inline(always)]
fn other_protocol(sk: *const u8, counted: Counted, dropped: PacketDropped) {
    let port = field!(sk, skc_num, u16);
    let Some(permit) = storm::admit(counted, port) else { return };
    let Some(mut entry) = hooks::plain_record(sk, permit, port, None) else { return };
    // SAFETY: reserved space for a `Record`.
    unsafe { (*entry.as_mut_ptr()).detail.packet_dropped = dropped };
    emit::submit(signal::PACKET_DROPPED, entry);
}

/// The last ACK of a handshake that finds the accept queue full.
#[inline(always)]
fn listener(sk: *const u8, skb: *const u8, dropped: PacketDropped) {
    let dropped = PacketDropped {
        accept_queue: field!(sk, sk_ack_backlog, u32),
        backlog: field!(sk, sk_max_ack_backlog, u32),
        ..dropped
    };
    // `tcp_v4_rcv` clears `skb->dev` before a listener sees the segment.
    bare(skb, snapshot::netns_inum(sk), dropped, |record| hooks::fill_listener(record, sk));
}

/// Without a full socket: the segment is all there is. Of other protocols than TCP not even that is told.
#[inline(always)]
fn bare(skb: *const u8, netns: u32, dropped: PacketDropped, more: impl FnOnce(*mut Record)) {
    let counted = hooks::count_segment(netns, signal::PACKET_DROPPED, dropped.reason as u16);
    if !segment::is_tcp(skb) {
        return;
    }
    let Some(mut entry) = hooks::segment_record(skb, counted) else { return };
    let record = entry.as_mut_ptr();
    // SAFETY: reserved space for a `Record`.
    unsafe { (*record).detail.packet_dropped = dropped };
    if !segment::ends(record, skb) {
        emit::note(signal::PACKET_DROPPED, |health| health.lost_read += 1);
    }
    more(record);
    emit::submit(signal::PACKET_DROPPED, entry);
}
