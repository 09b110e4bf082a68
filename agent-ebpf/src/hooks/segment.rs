//! A received segment: the only witness of a reset that has no socket.

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

/// Both headers, as far as they are wanted and have no options, in one read. They lie in the linear part
/// (`tcp_v4_rcv` pulls them), and what may follow them there is longer than this (`skb_shared_info`).
type Start = [u64; 7];

const IPV4_LEN: u16 = 20;
const IPV6_LEN: u16 = 40;

/// FIN and SYN take one sequence number each.
const FIN_SYN: u8 = 3;

/// Takes the ends and the trigger of a reset from the segment that it answers; the segment's destination is
/// this host. `false` if it can't be read.
#[inline(always)]
pub fn describe(record: *mut Record, skb: *const u8) -> bool {
    let at = field!(skb, skb_network_header, u16);
    // SAFETY: probe reads check their address.
    let Ok(start) = (unsafe { bpf_probe_read_kernel(header(skb, at) as *const Start) }) else { return false };
    let Some(tcp) = tcp(&start, skb, at) else { return false };
    let ip = [start[0], start[1], start[2], start[3], start[4]];
    // SAFETY: `record` is reserved space for a `Record`, its detail a `ResetSent`.
    unsafe {
        addresses(&raw mut (*record).endpoint, ip);
        (*record).endpoint.remote_port = u16::from_be(tcp.source);
        (*record).endpoint.local_port = u16::from_be(tcp.dest);
        trigger(&raw mut (*record).detail.reset_sent, skb, tcp);
    }
    true
}

/// The TCP header: out of `start`, which was read at `network`, unless options or extensions come first.
#[inline(always)]
fn tcp(start: &Start, skb: *const u8, network: u16) -> Option<TcpHeader> {
    let transport = field!(skb, skb_transport_header, u16);
    let bytes = (&raw const *start).cast::<u8>();
    // SAFETY: both places are aligned and end inside `start`; a probe read checks its address.
    unsafe {
        match transport.wrapping_sub(network) {
            IPV4_LEN => Some(bytes.add(IPV4_LEN as usize).cast::<TcpHeader>().read()),
            IPV6_LEN => Some(bytes.add(IPV6_LEN as usize).cast::<TcpHeader>().read()),
            _ => bpf_probe_read_kernel(header(skb, transport) as *const TcpHeader).ok(),
        }
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
            let [_, _, _, _, a, b, c, d] = ip[1].to_ne_bytes();
            let [e, f, g, h, ..] = ip[2].to_ne_bytes();
            remote.write([u64::from(u32::from_ne_bytes([a, b, c, d])), 0]);
            local.write([u64::from(u32::from_ne_bytes([e, f, g, h])), 0]);
        } else {
            (*to).family = AF_INET6;
            remote.write([ip[1], ip[2]]);
            local.write([ip[3], ip[4]]);
        }
    }
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
