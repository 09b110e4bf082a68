//! Dropped packets: `net/core/skbuff.c`.

use agent_common::record::{DROPPED_IN, DROPPED_OUT, OWNED, PacketDropped, Record};
use agent_common::signal;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use super::segment;
use super::{IPPROTO_TCP, TCP_LISTEN, stack};
use crate::kernel::{fact, field};
use crate::snapshot::{Full, SOCK_DGRAM, SOCK_STREAM};
use crate::storm;
use crate::{emit, hooks, memory, snapshot, socket};

const TCP_TIME_WAIT: u8 = 6;
const TCP_CLOSE: u8 = 7;
const TCP_NEW_SYN_RECV: u8 = 12;

/// A drop, and what is known of it before any header is read.
#[derive(Clone, Copy)]
struct Drop<'a> {
    ctx: &'a BtfTracePointContext,
    skb: *const u8,
    reason: u32,
    /// A socket had no memory or no room for it: of any protocol.
    is_shortage: bool,
}

/// `kfree_skb_reason` and `sk_skb_reason_drop` (5.17+), as the last reference goes. Every packet of the host
/// that somebody throws away comes here; of those that are not TCP's nothing is done, but where a socket had no
/// memory or room. From 6.11 on with the socket that did not take it. `skb->sk` is who sent it, also on its way
/// through another namespace (until `ip_rcv_core` orphans it there), or after `tcp_v4_early_demux` who is to
/// receive it. Silent for what ends in `consume_skb` (a driver that counts a drop by itself, XDP before there is
/// a packet) and for packets that were never made.
#[btf_tracepoint(function = "kfree_skb")]
pub fn packet_dropped(ctx: BtfTracePointContext) -> i32 {
    let (skb, reason): (*const u8, u32) = (ctx.arg(0), ctx.arg(2));
    let drop = Drop { ctx: &ctx, skb, reason, is_shortage: is_one_of(&fact!(drop_memory), reason) };
    let taker: *const u8 = if fact!(drop_socket) == 0 { core::ptr::null() } else { ctx.arg(3) };
    if !taker.is_null() {
        for_socket(&drop, taker);
    } else if drop.is_shortage {
        bare(&drop, segment::netns_inum(skb), 0, |_| ());
    } else {
        of_sender(&drop);
    }
    0
}

/// One bit of a frozen global.
#[inline(always)]
fn is_one_of(mask: &[u32; 6], reason: u32) -> bool {
    let [first, second, third, fourth, fifth, sixth] = *mask;
    let word = match reason / 32 {
        0 => first,
        1 => second,
        2 => third,
        3 => fourth,
        4 => fifth,
        5 => sixth,
        _ => 0,
    };
    (word >> (reason % 32)) & 1 != 0
}

/// A socket did not take it.
#[inline(always)]
fn for_socket(drop: &Drop, sk: *const u8) {
    match field!(sk, skc_state, u8) {
        TCP_TIME_WAIT | TCP_NEW_SYN_RECV => bare(drop, snapshot::netns_inum(sk), 0, |_| ()),
        TCP_LISTEN => listener(drop, sk),
        state => {
            let tp = snapshot::any_tcp_sock(sk);
            if !tp.is_null() {
                full(drop, tp, state, DROPPED_IN);
            } else if drop.is_shortage {
                other_protocol(drop, sk);
            }
        }
    }
}

/// No socket was to take it: it was on its way out, in or through.
#[inline(always)]
fn of_sender(drop: &Drop) {
    let sk = field!(drop.skb, skb_sk, *const u8, else core::ptr::null());
    if sk.is_null() {
        return bare(drop, segment::netns_inum(drop.skb), 0, |_| ());
    }
    match field!(sk, skc_state, u8) {
        TCP_TIME_WAIT | TCP_NEW_SYN_RECV | TCP_LISTEN => bare(drop, snapshot::netns_inum(sk), 0, |_| ()),
        state => match field!(sk, sk_type, u16) {
            SOCK_STREAM if field!(sk, sk_protocol, u16) == IPPROTO_TCP => match sender(sk) {
                tp if tp.is_null() => orphan(drop, sk, state),
                tp => full(drop, tp, state, 0),
            },
            // The bulk of what is no TCP: UDP's.
            SOCK_DGRAM => (),
            // TCP comes from other sockets too: resets and ACKs of TIME_WAIT from the namespace's own raw one, a
            // virtual machine's from its tap, what a program makes by hand from a raw or a packet socket.
            _ => bare(drop, snapshot::netns_inum(sk), 0, |_| ()),
        },
    }
}

/// The full socket behind `skb->sk`, which no helper takes as it is (`rcu_ptr_` to the verifier of 6.4 and later); null
/// of one that no file refers to.
#[inline(always)]
fn sender(sk: *const u8) -> *const u8 {
    let again = field!(field!(sk, sk_socket, *const u8), socket_sk, *const u8);
    if again as u64 == sk as u64 { snapshot::tcp_sock(again) } else { core::ptr::null() }
}

/// A socket that is closed by its process, or not accepted yet: whose it is, and no more.
#[inline(always)]
fn orphan(drop: &Drop, sk: *const u8, state: u8) {
    let counted = hooks::count_socket(sk, signal::PACKET_DROPPED, drop.reason as u16, &hooks::ONE);
    if is_noise(drop, state) {
        return;
    }
    let port = field!(sk, skc_num, u16);
    let Some(permit) = storm::admit(counted, port) else { return };
    let header = permit.header(0);
    let Some(mut entry) = emit::reserve::<Record>(permit) else { return };
    let record = entry.as_mut_ptr();
    let (mut dropped, ports) = described_whole(drop);
    snapshot::start(record, header);
    // SAFETY: reserved space for a `Record`.
    unsafe {
        snapshot::bare_endpoint(&raw mut (*record).endpoint, sk, port);
        if let Some(socket) = socket::find(sk) {
            memory::copy(&raw mut (*record).owner, &raw const socket.owner);
        }
        if port == 0 {
            // Given back at the close; the packet still has it.
            (*record).endpoint.local_port = (ports >> 16) as u16;
        }
        dropped.way = way_of(port, u16::from_be(field!(sk, skc_dport, u16)), ports);
        if dropped.netns == 0 {
            dropped.netns = (*record).endpoint.netns;
        }
        (*record).detail.packet_dropped = dropped;
    }
    emit::submit(signal::PACKET_DROPPED, entry);
}

/// A queue that a socket leaves behind (`inet_sock_destruct`, `skb_rbtree_purge`) goes without a reason.
#[inline(always)]
fn is_noise(drop: &Drop, state: u8) -> bool {
    is_one_of(&fact!(drop_noise), drop.reason)
        || state == TCP_CLOSE && drop.reason == u32::from(fact!(drop_unspecified))
}

/// Of a full TCP socket, which sent it or is to receive it: its ports tell, if `way` does not.
#[inline(always)]
fn full(drop: &Drop, tp: *const u8, state: u8, way: u8) {
    if tp.is_null() {
        return;
    }
    let counted = hooks::count_socket(tp, signal::PACKET_DROPPED, drop.reason as u16, &hooks::ONE);
    let netns = counted.key.netns;
    if is_noise(drop, state) {
        return;
    }
    let mut socket =
        if drop.is_shortage { socket::touch(tp, signal::PACKET_DROPPED) } else { socket::find(tp) };
    if let Some(socket) = &mut socket
        && drop.is_shortage
    {
        socket.totals.dropped += 1;
    }
    let Some(mut entry) = hooks::tcp_record(Full { sk: tp, tp }, counted, socket) else { return };
    let (mut dropped, ports) = described_whole(drop);
    let remote_port = u16::from_be(field!(tp, skc_dport, u16));
    dropped.way = if way == 0 { way_of(snapshot::local_port(tp), remote_port, ports) } else { way };
    if way != 0 {
        // In a socket's queue other members lie where the device was.
        (dropped.netns, dropped.ifindex) = (0, 0);
    }
    if dropped.netns == 0 {
        dropped.netns = netns;
    }
    // SAFETY: reserved space for a `TcpRecord`.
    unsafe {
        let record = &raw mut (*entry.as_mut_ptr()).record;
        (*record).detail.packet_dropped = dropped;
        if way == 0 {
            // Who holds the lock of a socket on whose way the packet was need not be the task that runs.
            (*record).header.flags &= !OWNED;
        }
    }
    emit::submit(signal::PACKET_DROPPED, entry);
}

/// A packet that does not come from the socket's peer to it was sent by it, whatever translation did to it since.
#[inline(always)]
fn way_of(local_port: u16, remote_port: u16, ports: segment::Ports) -> u8 {
    if ports == segment::ports(remote_port, local_port) { DROPPED_IN } else { DROPPED_OUT }
}

#[inline(always)]
fn other_protocol(drop: &Drop, sk: *const u8) {
    let counted = hooks::count_socket(sk, signal::PACKET_DROPPED, drop.reason as u16, &hooks::ONE);
    let port = field!(sk, skc_num, u16);
    let Some(permit) = storm::admit(counted, port) else { return };
    let Some(mut entry) = hooks::plain_record(sk, permit, port, None) else { return };
    // SAFETY: reserved space for a `Record`.
    unsafe { (*entry.as_mut_ptr()).detail.packet_dropped = described(drop, true) };
    emit::submit(signal::PACKET_DROPPED, entry);
}

/// The last ACK of a handshake that finds the accept queue full, or a SYN that the listener does not take.
#[inline(always)]
fn listener(drop: &Drop, sk: *const u8) {
    // `tcp_v4_rcv` clears `skb->dev` before a listener sees the segment.
    bare(drop, snapshot::netns_inum(sk), DROPPED_IN, |record| {
        hooks::fill_listener(record, sk);
        // SAFETY: reserved space for a `Record`.
        unsafe {
            (*record).detail.packet_dropped.accept_queue = field!(sk, sk_ack_backlog, u32);
            (*record).detail.packet_dropped.backlog = field!(sk, sk_max_ack_backlog, u32);
        }
    });
}

/// Without a full socket: the packet is all there is.
#[inline(always)]
fn bare(drop: &Drop, netns: u32, way: u8, more: impl FnOnce(*mut Record)) {
    let Some(packet) = segment::packet(drop.skb) else { return };
    let counted = hooks::count_segment(netns, signal::PACKET_DROPPED, drop.reason as u16);
    if is_noise(drop, 0) {
        return;
    }
    // Of a fragment the first one is told.
    if !packet.has_ports() {
        return;
    }
    let Some(mut entry) = hooks::bare_record(counted, packet.local_port()) else { return };
    let record = entry.as_mut_ptr();
    let mut dropped = described(drop, false);
    packet.describe(&mut dropped);
    dropped.way = way;
    if way != 0 || dropped.netns == 0 {
        (dropped.netns, dropped.ifindex) = (netns, 0);
    }
    // SAFETY: reserved space for a `Record`.
    unsafe { (*record).detail.packet_dropped = dropped };
    if !packet.ends(record) {
        emit::note(signal::PACKET_DROPPED, |health| health.lost_read += 1);
    }
    more(record);
    emit::submit(signal::PACKET_DROPPED, entry);
}

/// What is told of any drop, but for the packet's headers.
#[inline(always)]
fn described(drop: &Drop, has_socket: bool) -> PacketDropped {
    let Drop { ctx, skb, reason, is_shortage: _ } = *drop;
    let dev = field!(skb, skb_dev, *const u8);
    PacketDropped {
        reason,
        truesize: field!(skb, skb_truesize, u32),
        accept_queue: 0,
        backlog: 0,
        place: stack::place(ctx, has_socket),
        netns: segment::netns_inum(skb),
        ifindex: field!(dev, dev_ifindex, u32, else 0),
        seq: 0,
        mark: field!(skb, skb_mark, u32, else 0),
        len: 0,
        tcp_flags: 0,
        ttl: 0,
        way: 0,
        flags: 0,
        reserved: [0; 6],
    }
}

/// The same with what its headers say, and its ports.
#[inline(always)]
fn described_whole(drop: &Drop) -> (PacketDropped, segment::Ports) {
    let mut dropped = described(drop, true);
    let packet = segment::packet(drop.skb).unwrap_or_else(|| segment::headless(drop.skb));
    let ports = packet.describe(&mut dropped);
    (dropped, ports)
}
