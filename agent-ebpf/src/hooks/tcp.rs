//! Retransmissions and resets: `net/ipv4/tcp_output.c`, `tcp_input.c`, `tcp_ipv4.c`, `net/ipv6/tcp_ipv6.c`.

use agent_common::count::{Count, FAILED, REASON_ABSENT, Socket};
use agent_common::record::{
    Endpoint, NO_REASON, NO_STACK, REQUEST, Record, ResetSent, Retransmit, SynackRetransmit, TIME_WAIT,
    Totals,
};
use agent_common::{retransmit, signal};
use aya_ebpf::helpers::bpf_jiffies64;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use aya_log_ebpf::warn;

use super::{TCP_LISTEN, TCP_SYN_SENT, arrival, segment, stack};
use crate::kernel::{bits, fact, field};
use crate::snapshot::Full;
use crate::storm::{self, Permit};
use crate::{emit, hooks, snapshot, socket, task};

const TCP_TIME_WAIT: u8 = 6;
const TCP_CA_RECOVERY: u8 = 3;
const TCP_CA_LOSS: u8 = 4;
const ICSK_TIME_LOSS_PROBE: u8 = 5;
const ICSK_TIME_REO_TIMEOUT: u8 = 6;
const TCPHDR_SYN: u8 = 2;

/// End of `__tcp_retransmit_skb`, after the send. Up to 6.16 only if it succeeded; from 6.17 on always,
/// with the result. One event an skb, of `tcp_gso_segs` segments. Silent for SYN-ACKs of half-open
/// connections, zero-window and keepalive probes, and tail loss probes that carry new data.
#[btf_tracepoint(function = "tcp_retransmit_skb")]
pub fn retransmit(ctx: BtfTracePointContext) -> i32 {
    let (sk, skb): (*const u8, *const u8) = (ctx.arg(0), ctx.arg(1));
    let err: i32 = if fact!(retransmit_err) == 0 { 0 } else { ctx.arg(2) };
    let tp = snapshot::tcp_sock(sk);
    if !tp.is_null() {
        retransmitted(Full { sk, tp }, skb, err);
    }
    0
}

#[inline(always)]
fn retransmitted(full: Full, skb: *const u8, err: i32) {
    let Full { sk, tp } = full;
    let cb = skb.wrapping_add(fact!(layout.skb_cb) as usize);
    let tcp_flags = field!(cb, cb_tcp_flags, u8);
    let kind = kind(tp, tcp_flags);
    let segments = field!(cb, cb_tcp_gso_segs, u16).max(1);
    let (seq, end_seq) = (field!(cb, cb_seq, u32), field!(cb, cb_end_seq, u32));
    let add = Count { events: 1, segments: u64::from(segments), bytes: u64::from(end_seq.wrapping_sub(seq)) };
    let detail = if err == 0 { kind } else { kind | FAILED };
    let counted = hooks::count_socket(sk, signal::RETRANSMIT, detail, &add);
    socket::learn_holder(sk, signal::RETRANSMIT);
    let mut socket = socket::touch(sk, signal::RETRANSMIT);
    if let Some(socket) = &mut socket {
        add_total(&mut socket.totals, kind, segments, err);
    }
    let Some(mut entry) = hooks::tcp_record(full, counted, socket) else { return };
    // SAFETY: reserved space for a `TcpRecord`, its detail clear.
    unsafe {
        let to: *mut Retransmit = (&raw mut (*entry.as_mut_ptr()).record.detail).cast();
        (*to).seq = seq;
        (*to).end_seq = end_seq;
        (*to).err = err;
        (*to).kind = kind;
        (*to).segments = segments;
        (*to).tcp_flags = tcp_flags;
    }
    emit::submit(signal::RETRANSMIT, entry);
}

#[inline(always)]
fn add_total(totals: &mut Totals, kind: u16, segments: u16, err: i32) {
    if err != 0 {
        totals.failed += 1;
    } else if let Some(total) = totals.segments.get_mut(usize::from(kind)) {
        *total += u32::from(segments);
    }
}

/// Why it was sent again. The order of the tests is that of the kernel's call sites (`tcp_timer.c`,
/// `tcp_output.c`, `tcp_recovery.c`, 5.10 to 7.3): `tcp_write_timer_handler` clears `icsk_pending` before
/// the retransmission timer's work, `tcp_send_loss_probe` only after its own.
#[inline(always)]
fn kind(tp: *const u8, tcp_flags: u8) -> u16 {
    let pending = field!(tp, icsk_pending, u8);
    let ca_state = bits!(tp, icsk_ca_state, else 0);
    if field!(tp, skc_state, u8) == TCP_SYN_SENT || tcp_flags & TCPHDR_SYN != 0 {
        retransmit::SYN
    } else if pending == ICSK_TIME_LOSS_PROBE && ca_state < TCP_CA_RECOVERY {
        retransmit::TAIL_LOSS_PROBE
    } else if ca_state == TCP_CA_LOSS {
        if pending == 0 { retransmit::TIMEOUT } else { retransmit::SLOW_START }
    } else if ca_state == TCP_CA_RECOVERY {
        if pending == ICSK_TIME_REO_TIMEOUT && has_expired(tp) {
            retransmit::REORDER
        } else {
            retransmit::FAST
        }
    } else {
        retransmit::UNKNOWN
    }
}

/// Inside ACK processing the reordering timer may be armed too, but then it lies ahead.
#[inline(always)]
fn has_expired(tp: *const u8) -> bool {
    // SAFETY: no preconditions.
    let now = unsafe { bpf_jiffies64() };
    now.wrapping_sub(snapshot::timer_expires(tp)) < u64::MAX / 2
}

/// `tcp_rtx_synack`, after a successful send: timer of the half-open connection, a repeated SYN, or the
/// timer of a Fast Open child. `sk` is the listener, or the child. Silent with SYN cookies.
#[btf_tracepoint(function = "tcp_retransmit_synack")]
pub fn synack_retransmit(ctx: BtfTracePointContext) -> i32 {
    let (sk, req): (*const u8, *const u8) = (ctx.arg(0), ctx.arg(1));
    let add = Count { events: 1, segments: 1, bytes: 0 };
    let counted = hooks::count_socket(sk, signal::SYNACK_RETRANSMIT, retransmit::SYNACK, &add);
    let Some(permit) = storm::admit(counted, field!(req, skc_num, u16)) else { return 0 };
    let Some(mut entry) = hooks::plain_record(sk, permit, 0, socket::find(sk)) else { return 0 };
    let record = entry.as_mut_ptr();
    // SAFETY: reserved space for a `Record`.
    unsafe {
        request_endpoint(&raw mut (*record).endpoint, req);
        (*record).header.flags |= REQUEST;
        (*record).detail.synack_retransmit = request_detail(sk, req);
    }
    emit::submit(signal::SYNACK_RETRANSMIT, entry);
    0
}

/// A request socket starts with the `sock_common` of the connection it is about to become.
#[inline(always)]
fn request_endpoint(to: *mut Endpoint, req: *const u8) {
    snapshot::addresses(to, req);
    // SAFETY: reserved space for an `Endpoint`.
    unsafe {
        (*to).local_port = field!(req, skc_num, u16);
        (*to).remote_port = u16::from_be(field!(req, skc_dport, u16));
        (*to).family = field!(req, skc_family, u16);
        (*to).state = field!(req, skc_state, u8);
    }
}

#[inline(always)]
fn request_detail(sk: *const u8, req: *const u8) -> SynackRetransmit {
    let tp = snapshot::tcp_sock(sk);
    SynackRetransmit {
        retransmits: field!(req, req_num_retrans, u8),
        timeouts: bits!(req, req_num_timeout, else 0),
        duplicate_syn: u8::from(!has_timer_run(req)),
        reserved: 0,
        syn_queue: if tp.is_null() { 0 } else { field!(tp, icsk_syn_queue, u32) },
        accept_queue: field!(sk, sk_ack_backlog, u32),
        backlog: field!(sk, sk_max_ack_backlog, u32),
    }
}

/// `reqsk_timer_handler` runs when the request's timer has expired; a repeated SYN (`tcp_check_req`) comes while
/// it still runs, and arms it anew only afterwards.
#[inline(always)]
fn has_timer_run(req: *const u8) -> bool {
    // SAFETY: no preconditions.
    let now = unsafe { bpf_jiffies64() };
    now.wrapping_sub(field!(req, req_timer_expires, u64, else 0)) < u64::MAX / 2
}

/// `tcp_v4_send_reset`, `tcp_v6_send_reset` (passive, with the segment that is answered, before the send)
/// and `tcp_send_active_reset` (no segment, after the send). Before 6.10 only with a full socket and
/// without a reason. From 6.10 on `sk` may be null, a TIME_WAIT mini socket or a listener.
/// Silent for nftables' `reject with tcp reset`, which never enters TCP.
#[btf_tracepoint(function = "tcp_send_reset")]
pub fn reset_sent(ctx: BtfTracePointContext) -> i32 {
    let (sk, skb): (*const u8, *const u8) = (ctx.arg(0), ctx.arg(1));
    let reason: i32 = if fact!(reset_reason) == 0 { NO_REASON } else { ctx.arg(2) };
    let detail = if reason == NO_REASON { u32::from(REASON_ABSENT) } else { reason as u32 };
    if is_active(skb) {
        active(&ctx, sk, reason, detail as u16);
    } else {
        passive(sk, skb, reason, detail as u16);
    }
    0
}

/// Kernels whose verifier does not know that the argument may be null delete the null test; the load
/// through null then reads 0, and a real skb always has a head.
#[inline(always)]
fn is_active(skb: *const u8) -> bool {
    skb.is_null() || field!(skb, skb_head, u64) == 0
}

/// This side ends the connection: always a full socket.
#[inline(always)]
fn active(ctx: &BtfTracePointContext, sk: *const u8, reason: i32, detail: u16) {
    let tp = snapshot::tcp_sock(sk);
    if tp.is_null() {
        warn!(ctx, "tcp_send_reset: an active reset of something that is no TCP socket");
        emit::note(signal::RESET_SENT, |health| health.lost_read += 1);
        return;
    }
    answer(Full { sk, tp }, What { reason, active: 1 }, detail, core::ptr::null(), || stack::walk(ctx));
}

/// The answer to a segment.
#[inline(always)]
fn passive(sk: *const u8, skb: *const u8, reason: i32, detail: u16) {
    let what = What { reason, active: 0 };
    if sk.is_null() {
        return bare(skb, segment::netns_inum(skb), what, detail, |_| ());
    }
    let state = field!(sk, skc_state, u8);
    let tp = snapshot::tcp_sock(sk);
    if state != TCP_LISTEN && !tp.is_null() {
        return answer(Full { sk, tp }, what, detail, skb, || NO_STACK);
    }
    // `tcp_v4_rcv` clears `skb->dev` before a listener sees the segment; the mini socket knows its namespace.
    bare(skb, snapshot::netns_inum(sk), what, detail, |record| {
        if state == TCP_LISTEN {
            return hooks::fill_listener(record, sk);
        }
        // SAFETY: reserved space for a `Record`.
        unsafe {
            (*record).header.flags = if state == TCP_TIME_WAIT { TIME_WAIT } else { 0 };
            (*record).endpoint.sk = sk as u64;
            (*record).endpoint.state = state;
        }
    });
}

/// What of a [`ResetSent`] does not come from a segment.
#[derive(Clone, Copy)]
struct What {
    reason: i32,
    active: u8,
}

impl What {
    /// # Safety
    /// `record` is reserved space for a `Record`, its detail clear.
    #[inline(always)]
    unsafe fn write(self, record: *mut Record, stack: i32) {
        // SAFETY: by the caller's promise.
        unsafe {
            let to: *mut ResetSent = (&raw mut (*record).detail).cast();
            (*to).reason = self.reason;
            (*to).stack = stack;
            (*to).active = self.active;
            (*to).exit = if self.active == 0 { 0 } else { task::exit() };
        }
    }
}

/// A reset by a full socket, in answer to `skb` if there is one.
#[inline(always)]
fn answer(full: Full, what: What, detail: u16, skb: *const u8, stack: impl FnOnce() -> i32) {
    let Full { sk, tp: _ } = full;
    let counted = hooks::count_socket(sk, signal::RESET_SENT, detail, &hooks::ONE);
    let mut socket = socket::touch(sk, signal::RESET_SENT);
    if let Some(socket) = &mut socket {
        socket.totals.resets_sent += 1;
    }
    let Some(mut entry) = hooks::tcp_record(full, counted, socket) else { return };
    // SAFETY: reserved space for a `TcpRecord`.
    unsafe {
        let record = &raw mut (*entry.as_mut_ptr()).record;
        what.write(record, stack());
        if !skb.is_null() {
            segment::describe(record, skb);
        }
    }
    emit::submit(signal::RESET_SENT, entry);
}

/// A reset without a full socket: the segment is all there is.
#[inline(always)]
fn bare(skb: *const u8, netns: u32, what: What, detail: u16, more: impl FnOnce(*mut Record)) {
    let counted = hooks::count_segment(netns, signal::RESET_SENT, detail);
    let Some(mut entry) = hooks::segment_record(skb, counted) else { return };
    let record = entry.as_mut_ptr();
    // SAFETY: reserved space for a `Record`.
    unsafe { what.write(record, NO_STACK) };
    if !segment::describe(record, skb) {
        emit::note(signal::RESET_SENT, |health| health.lost_read += 1);
    }
    more(record);
    emit::submit(signal::RESET_SENT, entry);
}

/// First line of `tcp_reset`: a RST was accepted, before anything is torn down. Also without any RST, when
/// data arrives after the application closed (`tcp_rcv_state_process`): then our own reset follows at once.
#[btf_tracepoint(function = "tcp_receive_reset")]
pub fn reset_received(ctx: BtfTracePointContext) -> i32 {
    let sk: *const u8 = ctx.arg(0);
    let tp = snapshot::tcp_sock(sk);
    if tp.is_null() {
        return 0;
    }
    let state = field!(sk, skc_state, u8);
    let counted = hooks::count_socket(sk, signal::RESET_RECEIVED, u16::from(state), &hooks::ONE);
    let mut socket = socket::touch(sk, signal::RESET_RECEIVED);
    if let Some(socket) = &mut socket {
        socket.totals.resets_received += 1;
    }
    let Some(permit) = storm::admit(counted, hooks::service_port(tp)) else { return 0 };
    if state == TCP_SYN_SENT {
        refused(Full { sk, tp }, permit, socket);
    } else if let Some(mut entry) = hooks::tcp_record_with(permit, Full { sk, tp }, socket) {
        // SAFETY: reserved space for a `TcpRecord`.
        unsafe { (*entry.as_mut_ptr()).record.detail.reset_received = arrival::take(sk) };
        emit::submit(signal::RESET_RECEIVED, entry);
    }
    0
}

/// Refused connects come in storms, and there is nothing to record of one but whose it was and what refused it.
#[inline(always)]
fn refused(full: Full, permit: Permit, socket: Option<&'static mut Socket>) {
    let port = snapshot::local_port(full.tp);
    if let Some(mut entry) = hooks::plain_record(full.sk, permit, port, socket) {
        // SAFETY: reserved space for a `Record`.
        unsafe { (*entry.as_mut_ptr()).detail.reset_received = arrival::take(full.sk) };
        emit::submit(signal::RESET_RECEIVED, entry);
    }
}
