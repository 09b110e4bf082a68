//! Socket memory: `net/core/sock.c`.

use agent_common::record::{ABSENT8, BufLimitExceeded, RcvqueueFull};
use agent_common::signal;
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::kernel::{fact, field, load};
use crate::snapshot::Full;
use crate::storm::{self, Counted};
use crate::{emit, hooks, snapshot, socket};

/// Failure path of `__sk_mem_raise_allocated`: forward memory was refused, by `tcp_mem` (or `udp_mem`) or
/// by the memory cgroup. Any protocol. It never means that SO_SNDBUF is full, and before 6.1 it is silent
/// when a memory cgroup refuses a receive.
#[btf_tracepoint(function = "sock_exceed_buf_limit")]
pub fn buf_limit_exceeded(ctx: BtfTracePointContext) -> i32 {
    let (sk, prot): (*const u8, *const u8) = (ctx.arg(0), ctx.arg(1));
    let (allocated, direction): (i64, i32) = (ctx.arg(2), ctx.arg(3));
    let counted = hooks::count_socket(sk, signal::BUF_LIMIT_EXCEEDED, direction as u16, &hooks::ONE);
    let detail = BufLimitExceeded {
        memory_cgroup: snapshot::memory_cgroup(sk),
        allocated: allocated.clamp(0, i64::from(u32::MAX)) as u32,
        direction: direction as u8,
        pressure: pressure(prot),
        reserved: [0; 2],
        protocol: protocol_name(prot),
    };
    let tp = snapshot::any_tcp_sock(sk);
    if tp.is_null() {
        other_protocol(sk, counted, &detail);
    } else {
        tcp(Full { sk, tp }, counted, &detail);
    }
    0
}

#[inline(always)]
fn tcp(full: Full, counted: Counted, detail: &BufLimitExceeded) {
    socket::learn_holder(full.sk, signal::BUF_LIMIT_EXCEEDED);
    let mut socket = socket::touch(full.sk, signal::BUF_LIMIT_EXCEEDED);
    if let Some(socket) = &mut socket {
        socket.totals.buf_limit_exceeded += 1;
    }
    let Some(mut entry) = hooks::tcp_record(full, counted, socket) else { return };
    // SAFETY: reserved space for a `TcpRecord`.
    unsafe { (*entry.as_mut_ptr()).record.detail.buf_limit_exceeded = *detail };
    emit::submit(signal::BUF_LIMIT_EXCEEDED, entry);
}

#[inline(always)]
fn other_protocol(sk: *const u8, counted: Counted, detail: &BufLimitExceeded) {
    let port = field!(sk, skc_num, u16);
    let Some(permit) = storm::admit(counted, port) else { return };
    let Some(mut entry) = hooks::plain_record(sk, permit, port, None) else { return };
    // SAFETY: reserved space for a `Record`.
    unsafe { (*entry.as_mut_ptr()).detail.buf_limit_exceeded = *detail };
    emit::submit(signal::BUF_LIMIT_EXCEEDED, entry);
}

/// `*prot->memory_pressure`, the flag that `tcp_enter_memory_pressure` sets; protocols without one have null.
#[inline(always)]
fn pressure(prot: *const u8) -> u8 {
    let flag = field!(prot, prot_memory_pressure, u64);
    if flag == 0 {
        return ABSENT8;
    }
    // SAFETY: probe reads check the address.
    let since = unsafe { bpf_probe_read_kernel(flag as *const u64) };
    since.map_or(ABSENT8, |since| u8::from(since != 0))
}

/// `prot->name`: 32 bytes in the kernel, of which no protocol uses more than 16.
#[inline(always)]
fn protocol_name(prot: *const u8) -> [u8; 16] {
    let at = fact!(layout.prot_name);
    let words: [u64; 2] = [load(prot, at), load(prot, at + 8)];
    // SAFETY: same size, no invalid values.
    unsafe { core::mem::transmute(words) }
}

/// `__sock_queue_rcv_skb`: a packet did not fit SO_RCVBUF. Raw, ping, packet and the like: TCP and UDP
/// queue elsewhere and never come here.
#[btf_tracepoint(function = "sock_rcvqueue_full")]
pub fn rcvqueue_full(ctx: BtfTracePointContext) -> i32 {
    let (sk, skb): (*const u8, *const u8) = (ctx.arg(0), ctx.arg(1));
    let counted = hooks::count_socket(sk, signal::RCVQUEUE_FULL, 0, &hooks::ONE);
    let port = field!(sk, skc_num, u16);
    let Some(permit) = storm::admit(counted, port) else { return 0 };
    let Some(mut entry) = hooks::plain_record(sk, permit, port, None) else { return 0 };
    let detail = RcvqueueFull {
        truesize: field!(skb, skb_truesize, u32),
        rmem_alloc: field!(sk, sk_rmem_alloc, u32),
        rcvbuf: field!(sk, sk_rcvbuf, u32),
        reserved: 0,
    };
    // SAFETY: reserved space for a `Record`.
    unsafe { (*entry.as_mut_ptr()).detail.rcvqueue_full = detail };
    emit::submit(signal::RCVQUEUE_FULL, entry);
    0
}
