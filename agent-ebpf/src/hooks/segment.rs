//! A received segment: the only witness of a reset that has no socket.

use core::mem::offset_of;

use agent_common::record::{Endpoint, HAS_SEGMENT, PacketDropped, Record, ResetSent, WITHOUT_IP};
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

/// The lower 13 bits of IPv4's flags and fragment offset are the offset (RFC 791 §3.1).
const FRAGMENT_OFFSETS: u16 = 1 << 13;

/// Takes the ends and the trigger of a reset from the segment that it answers; the segment's destination is
/// this host. `false` if it can't be read.
#[inline(always)]
pub fn describe(record: *mut Record, skb: *const u8) -> bool {
    let Some(tcp) = read_ends(record, skb) else { return false };
    // SAFETY: `record` is reserved space for a `Record`, its detail a `ResetSent`.
    trigger(unsafe { &raw mut (*record).detail.reset_sent }, skb, tcp);
    true
}

#[inline(always)]
fn read_ends(record: *mut Record, skb: *const u8) -> Option<TcpHeader> {
    let network = header(skb, field!(skb, skb_network_header, u16));
    // `tcp_v4_rcv` pulls both headers into the linear part.
    let transport = header(skb, field!(skb, skb_transport_header, u16));
    ends_at(record, network, transport)
}

#[inline(always)]
fn ends_at(record: *mut Record, network: u64, transport: u64) -> Option<TcpHeader> {
    // One at a time: of both results together LLVM makes a path on which 5.10 finds the first unread.
    // SAFETY: probe reads check their address.
    let Ok(ip) = (unsafe { bpf_probe_read_kernel(network as *const [u64; 5]) }) else { return None };
    let tcp = tcp_header(transport)?;
    // SAFETY: `record` is reserved space for a `Record`.
    unsafe {
        addresses(&raw mut (*record).endpoint, ip);
        (*record).endpoint.remote_port = u16::from_be(tcp.source);
        (*record).endpoint.local_port = u16::from_be(tcp.dest);
    }
    Some(tcp)
}

#[inline(always)]
fn tcp_header(at: u64) -> Option<TcpHeader> {
    // SAFETY: probe reads check their address.
    unsafe { bpf_probe_read_kernel(at as *const TcpHeader) }.ok()
}

/// Where the headers of a dropped packet lie, whichever layer dropped it.
#[derive(Clone, Copy)]
pub struct Packet {
    /// Address of the IP header; 0 if it has none yet.
    network: u64,
    /// Address of the TCP header; 0 of a fragment that has none.
    transport: u64,
    /// Time to live, or hop limit.
    ttl: u8,
    /// Bytes of IP and TCP headers and payload, as the IP header has them.
    len: u16,
    /// Of the IP header.
    ip_len: u16,
}

/// IPv4 or IPv6 with TCP right behind its header, also inside a tunnel whose headers this host has put before it
/// (`skb_reset_inner_headers`).
#[inline(always)]
pub fn packet(skb: *const u8) -> Option<Packet> {
    let outer = packet_at(skb, field!(skb, skb_network_header, u16));
    if outer.is_some() { outer } else { packet_at(skb, field!(skb, skb_inner_network_header, u16, else 0)) }
}

/// The offset of the transport header is not set on all ways.
#[inline(always)]
fn packet_at(skb: *const u8, offset: u16) -> Option<Packet> {
    const IPPROTO_TCP: u8 = 6;
    // No packet begins with its buffer.
    if offset == 0 {
        return None;
    }
    let network = header(skb, offset);
    // SAFETY: probe reads check their address.
    let Ok(ip) = (unsafe { bpf_probe_read_kernel(network as *const [u8; 10]) }) else { return None };
    if ip[0] >> 4 == 4 && ip[9] == IPPROTO_TCP {
        let ip_len = u16::from(ip[0] & 15) * 4;
        let is_first = u16::from_be_bytes([ip[6], ip[7]]) % FRAGMENT_OFFSETS == 0;
        let transport = if is_first { network + u64::from(ip_len) } else { 0 };
        Some(Packet { network, transport, ttl: ip[8], len: u16::from_be_bytes([ip[2], ip[3]]), ip_len })
    } else if ip[0] >> 4 == 6 && ip[6] == IPPROTO_TCP {
        let len = u16::from_be_bytes([ip[4], ip[5]]);
        Some(Packet { network, transport: network + 40, ttl: ip[7], len: len.saturating_add(40), ip_len: 40 })
    } else {
        None
    }
}

/// A packet that its socket sent and that no IP header was written for.
#[inline(always)]
pub fn headless(skb: *const u8) -> Packet {
    let transport = header(skb, field!(skb, skb_transport_header, u16));
    let len = field!(skb, skb_len, u32);
    Packet { network: 0, transport, ttl: 0, len: if len > 0xffff { 0xffff } else { len as u16 }, ip_len: 0 }
}

/// Source and destination port of a packet as one number; 0 if it has none that can be read. No `Option`: LLVM would
/// compare what it does not have, and the verifier finds something else in that register.
pub type Ports = u32;

/// The two as one number.
#[inline(always)]
pub fn ports(source: u16, dest: u16) -> Ports {
    u32::from(source) << 16 | u32::from(dest)
}

impl Packet {
    /// Whether it has a TCP header.
    #[inline(always)]
    pub fn has_ports(&self) -> bool {
        self.transport != 0
    }

    /// Time to live, or hop limit.
    #[inline(always)]
    pub fn ttl(&self) -> u8 {
        self.ttl
    }

    /// Whether it is a RST.
    #[inline(always)]
    pub fn is_reset(&self) -> bool {
        const RST: u8 = 4;
        let flags = self.transport + offset_of!(TcpHeader, flags) as u64;
        // SAFETY: probe reads check their address.
        unsafe { bpf_probe_read_kernel(flags as *const u8) }.unwrap_or(0) & RST != 0
    }

    /// The port that it was sent to; 0 if it can't be read.
    #[inline(always)]
    pub fn local_port(&self) -> u16 {
        let dest = self.transport + offset_of!(TcpHeader, dest) as u64;
        // SAFETY: probe reads check their address.
        u16::from_be(unsafe { bpf_probe_read_kernel(dest as *const u16) }.unwrap_or(0))
    }

    /// Tells of the packet itself; gives its ports.
    #[inline(always)]
    pub fn describe(&self, to: &mut PacketDropped) -> Ports {
        to.ttl = self.ttl;
        to.flags = if self.network == 0 { WITHOUT_IP } else { 0 };
        if self.transport == 0 {
            return 0;
        }
        let Some(tcp) = tcp_header(self.transport) else { return 0 };
        to.flags |= HAS_SEGMENT;
        to.seq = u32::from_be(tcp.seq);
        to.tcp_flags = tcp.flags;
        to.len = self.len.saturating_sub(self.ip_len).saturating_sub(u16::from(tcp.offset >> 4) * 4);
        ports(u16::from_be(tcp.source), u16::from_be(tcp.dest))
    }

    /// Takes the ends: its destination is the local one. `false` if they can't be read.
    #[inline(always)]
    pub fn ends(&self, record: *mut Record) -> bool {
        ends_at(record, self.network, self.transport).is_some()
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
