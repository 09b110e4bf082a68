//! A received segment: the only witness of a reset that has no socket.

use core::mem::offset_of;

use agent_common::record::{Endpoint, Record, ResetSent};
use aya_ebpf::helpers::bpf_probe_read_kernel;

use crate::kernel::field;
use crate::snapshot::{AF_INET, AF_INET6};

/// RFC 9293 §3.1, up to the window.
#[repr(C)]
#[derive(Clone, Copy)]
struct TcpHeader {
    source: u16,
    dest: u16,
    seq: u32,
    ack: u32,
    offset: u8,
    flags: u8,
    window: u16,
}

/// FIN and SYN take one sequence number each.
const FIN_SYN: u8 = 3;

/// Takes the ends and the trigger of a reset from the segment that it answers; the segment's destination is
/// this host. `false` if it can't be read.
#[inline(always)]
pub fn describe(record: *mut Record, skb: *const u8) -> bool {
    let Some(tcp) = read_ends(record, skb) else { return false };
    // SAFETY: `record` is reserved space for a `Record`, its detail a `ResetSent`.
    trigger(unsafe { &raw mut (*record).detail.reset_sent }, skb, tcp);
    true
}

/// Takes the ends alone. `false` if they can't be read.
#[inline(always)]
pub fn ends(record: *mut Record, skb: *const u8) -> bool {
    read_ends(record, skb).is_some()
}

#[inline(always)]
fn read_ends(record: *mut Record, skb: *const u8) -> Option<TcpHeader> {
    let network = header(skb, field!(skb, skb_network_header, u16));
    let transport = header(skb, field!(skb, skb_transport_header, u16));
    // One at a time: of both results together LLVM makes a path on which 5.10 finds the first unread.
    // SAFETY: probe reads check their address; both headers lie in the linear part (`tcp_v4_rcv` pulls them).
    let Ok(ip) = (unsafe { bpf_probe_read_kernel(network as *const [u64; 5]) }) else { return None };
    // SAFETY: as above.
    let Ok(tcp) = (unsafe { bpf_probe_read_kernel(transport as *const TcpHeader) }) else { return None };
    // SAFETY: `record` is reserved space for a `Record`.
    unsafe {
        addresses(&raw mut (*record).endpoint, ip);
        (*record).endpoint.remote_port = u16::from_be(tcp.source);
        (*record).endpoint.local_port = u16::from_be(tcp.dest);
    }
    Some(tcp)
}

/// Whether a packet is IPv4 or IPv6 with TCP right behind its header.
#[inline(always)]
pub fn is_tcp(skb: *const u8) -> bool {
    const IPPROTO_TCP: u8 = 6;
    let network = header(skb, field!(skb, skb_network_header, u16));
    // SAFETY: probe reads check their address.
    let Ok(ip) = (unsafe { bpf_probe_read_kernel(network as *const [u8; 16]) }) else { return false };
    match ip[0] >> 4 {
        4 => ip[9] == IPPROTO_TCP,
        6 => ip[6] == IPPROTO_TCP,
        _ => false,
    }
}

/// IPv4 has its addresses in bytes 12 to 19, IPv6 in bytes 8 to 39.
#[inline(always)]
fn addresses(to: *mut Endpoint, ip: [u64; 5]) {
    // SAFETY: `to` is reserved space for an `Endpoint`, whose addresses are 8-byte aligned.
    unsafe {
        let remote = (&raw mut (*to).remote).cast::<[u64; 2]>();
        let local = (&raw mut (*to).local).cast::<[u64; 2]>();
        if ip[0].to_ne_bytes()[0] >> 4 == 4 {
            (*to).family = AF_INET;
            remote.write([four_bytes::<4>(ip[1]), 0]);
            local.write([four_bytes::<0>(ip[2]), 0]);
        } else {
            (*to).family = AF_INET6;
            remote.write([ip[1], ip[2]]);
            local.write([ip[3], ip[4]]);
        }
    }
}

/// Four bytes of a word as they lie in memory, from byte `AT` on, as the first four of another.
#[inline(always)]
const fn four_bytes<const AT: usize>(word: u64) -> u64 {
    let word = word.to_ne_bytes();
    u64::from_ne_bytes([word[AT], word[AT + 1], word[AT + 2], word[AT + 3], 0, 0, 0, 0])
}

#[inline(always)]
fn trigger(to: *mut ResetSent, skb: *const u8, tcp: TcpHeader) {
    let cb = skb.wrapping_add(crate::kernel::fact!(layout.skb_cb) as usize);
    let span = field!(cb, cb_end_seq, u32).wrapping_sub(field!(cb, cb_seq, u32));
    // SAFETY: `to` is reserved space for a `ResetSent`.
    unsafe {
        (*to).trigger_flags = tcp.flags;
        (*to).trigger_seq = u32::from_be(tcp.seq);
        (*to).trigger_ack = u32::from_be(tcp.ack);
        (*to).trigger_len = span.saturating_sub((tcp.flags & FIN_SYN).count_ones());
    }
}

/// The port on this host that the segment is for; 0 if it can't be read.
#[inline(always)]
pub fn local_port(skb: *const u8) -> u16 {
    let dest = header(skb, field!(skb, skb_transport_header, u16)) + offset_of!(TcpHeader, dest) as u64;
    // SAFETY: probe reads check their address.
    u16::from_be(unsafe { bpf_probe_read_kernel(dest as *const u16) }.unwrap_or(0))
}

/// Inode of the network namespace of the device that the segment came in by.
#[inline(always)]
pub fn netns_inum(skb: *const u8) -> u32 {
    let dev = field!(skb, skb_dev, *const u8);
    field!(field!(dev, dev_net, *const u8), net_inum, u32)
}

#[inline(always)]
fn header(skb: *const u8, offset: u16) -> u64 {
    field!(skb, skb_head, u64) + u64::from(offset)
}
