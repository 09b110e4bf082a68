//! A received segment: the only witness of a reset that has no socket.

use agent_common::record::{Endpoint, ResetSent};
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

/// Turns the segment's addresses round: its destination is this host. `false` if it can't be read.
#[inline(always)]
pub fn endpoint(to: *mut Endpoint, skb: *const u8) -> bool {
    let network = header(skb, field!(skb, skb_network_header, u16));
    // SAFETY: `to` is reserved space for an `Endpoint`; probe reads check their address.
    unsafe {
        let Ok(version) = bpf_probe_read_kernel(network as *const u8) else { return false };
        if version >> 4 == 4 {
            let Ok([source, dest]) = bpf_probe_read_kernel((network + 12) as *const [u32; 2]) else {
                return false;
            };
            (*to).family = AF_INET;
            write(&raw mut (*to).remote, [u64::from(source), 0]);
            write(&raw mut (*to).local, [u64::from(dest), 0]);
        } else {
            let Ok([a, b, c, d]) = bpf_probe_read_kernel((network + 8) as *const [u64; 4]) else {
                return false;
            };
            (*to).family = AF_INET6;
            write(&raw mut (*to).remote, [a, b]);
            write(&raw mut (*to).local, [c, d]);
        }
        let Ok(tcp) = tcp_header(skb) else { return false };
        (*to).remote_port = u16::from_be(tcp.source);
        (*to).local_port = u16::from_be(tcp.dest);
    }
    true
}

/// What the answered segment was.
#[inline(always)]
pub fn trigger(to: *mut ResetSent, skb: *const u8) {
    let Ok(tcp) = tcp_header(skb) else { return };
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

#[inline(always)]
fn tcp_header(skb: *const u8) -> Result<TcpHeader, i32> {
    let at = header(skb, field!(skb, skb_transport_header, u16));
    // SAFETY: probe reads check their address.
    unsafe { bpf_probe_read_kernel(at as *const TcpHeader) }
}

/// # Safety
/// `to` is 8-byte aligned space.
#[inline(always)]
unsafe fn write(to: *mut [u8; 16], address: [u64; 2]) {
    // SAFETY: by the caller's promise.
    unsafe { to.cast::<[u64; 2]>().write(address) }
}
