//! What a timeline is made of.

use agent_model::event::{Detail, Direction, Exit, KernelEvent, RetransmitKind, Tcp, TcpState};
use serde::{Deserialize, Serialize};

/// One happening, or a run of like ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When the (first) event happened, ns of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// How much later the last event of the run happened, ms.
    pub span_ms: u32,
    /// Events, at least 1.
    pub count: u32,
    /// Bytes sent and not acknowledged, after the last event; 0 without a full socket.
    pub unacked: u32,
    /// Bytes written and not sent, likewise.
    pub unsent: u32,
    /// Bytes received and not read by the application, likewise.
    pub unread: u32,
    /// What the peer offers to take, bytes; 0 is a shut window, `None` if it offered nothing yet, or without a
    /// full socket.
    pub window: Option<u32>,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// Data or a SYN was sent again.
    Retransmit {
        /// Why.
        kind: RetransmitKind,
        /// n-th consecutive timeout, from 1; 0 for other kinds.
        stage: u8,
        /// 0 sent, negative errno, 1 dropped by the local qdisc.
        err: i16,
        /// Segments of the run; stops at 65,535.
        segments: u16,
        /// `icsk_rto`, jiffies.
        rto: u32,
    },
    /// A SYN-ACK was sent again.
    SynackRetransmit {
        /// n-th, from 1.
        stage: u8,
        /// Connections waiting for accept.
        accept_queue: u32,
        /// Limit of the accept queue.
        backlog: u32,
    },
    /// This host sent a RST.
    ResetSent {
        /// Number of the kernel's reason; `None` before 6.10.
        reason: Option<u16>,
        /// Id of the kernel stack.
        stack: Option<u16>,
        /// On this side's initiative, not in answer to a segment.
        active: bool,
        /// State at the event.
        state: Option<TcpState>,
        /// How the process ends that did it by ending.
        exit: Option<Exit>,
    },
    /// A RST was accepted, or data came after close (see `tcp_receive_reset` in KERNEL.md §1.2).
    ResetReceived {
        /// State at the event.
        state: Option<TcpState>,
    },
    /// Memory was refused.
    BufLimitExceeded {
        /// Which side.
        direction: Direction,
        /// Pages of the protocol after the refused add; stops at `u32::MAX`.
        allocated: u32,
        /// Whether the protocol was under pressure; `None` where it knows none.
        pressure: Option<bool>,
        /// Whether the socket is charged to a memory cgroup.
        in_cgroup: bool,
    },
    /// A received segment was dropped.
    PacketDropped {
        /// Number of the kernel's reason.
        reason: u16,
    },
    /// The receive queue was full (not of TCP).
    RcvqueueFull,
    /// The state changed.
    StateChanged {
        /// Before.
        old: TcpState,
        /// After.
        new: TcpState,
        /// `sk_err`: errno that the application will see; 0 none.
        err: i16,
    },
    /// The retransmission timer is quiet again: the peer acknowledged.
    Recovered {
        /// Consecutive timeouts that the stall had.
        stage: u8,
    },
    /// The kernel forgot the socket.
    SockDestroyed,
}

impl What {
    /// From the event, whose stage is `stage`.
    pub fn of(event: &KernelEvent, stage: Option<u32>) -> Self {
        let raw = event.tcp.as_ref().map(|tcp| &tcp.raw);
        let stage = stage.map_or(0, |stage| narrow::<u8>(stage, u8::MAX));
        match event.detail {
            Detail::Retransmit { kind, err, segments, .. } => {
                Self::Retransmit { kind, stage, err: errno(err), segments, rto: raw.map_or(0, |raw| raw.rto) }
            }
            Detail::SynackRetransmit { accept_queue, backlog, .. } => {
                Self::SynackRetransmit { stage, accept_queue, backlog }
            }
            Detail::ResetSent { reason, stack, trigger, exit } => Self::ResetSent {
                reason: reason.and_then(|reason| reason.try_into().ok()),
                stack: stack.and_then(|stack| stack.try_into().ok()),
                active: trigger.is_none(),
                state: event.endpoint.state,
                exit,
            },
            Detail::ResetReceived => Self::ResetReceived { state: event.endpoint.state },
            Detail::BufLimitExceeded { direction, allocated, pressure, memory_cgroup, .. } => {
                let allocated = narrow(allocated.max(0), u32::MAX);
                Self::BufLimitExceeded { direction, allocated, pressure, in_cgroup: memory_cgroup.is_some() }
            }
            Detail::PacketDropped { reason, .. } => Self::PacketDropped { reason: narrow(reason, u16::MAX) },
            Detail::RcvqueueFull { .. } => Self::RcvqueueFull,
            Detail::StateChanged { old, new, .. } => {
                Self::StateChanged { old, new, err: raw.map_or(0, |raw| errno(raw.err)) }
            }
            Detail::SockDestroyed => Self::SockDestroyed,
        }
    }

    /// Whether `next` only continues this: recovery and memory trouble come in runs, timeouts one by one.
    pub(super) fn continues_with(&self, next: &Self) -> bool {
        if let Self::Retransmit { kind, err, .. } = *self
            && let Self::Retransmit { kind: next_kind, err: next_err, .. } = *next
        {
            return kind == next_kind && err == next_err && is_clocked_by_acks(kind);
        }
        match (self, next) {
            (Self::BufLimitExceeded { direction: a, .. }, Self::BufLimitExceeded { direction: b, .. }) => {
                a == b
            }
            (Self::PacketDropped { reason: a }, Self::PacketDropped { reason: b }) => a == b,
            _ => false,
        }
    }

    fn segments(&mut self) -> Option<&mut u16> {
        if let Self::Retransmit { segments, .. } = self { Some(segments) } else { None }
    }
}

fn is_clocked_by_acks(kind: RetransmitKind) -> bool {
    match kind {
        RetransmitKind::Fast | RetransmitKind::Reorder | RetransmitKind::SlowStart => true,
        RetransmitKind::Unknown
        | RetransmitKind::Timeout
        | RetransmitKind::TailLossProbe
        | RetransmitKind::Syn
        | RetransmitKind::Synack => false,
    }
}

fn narrow<T>(value: impl TryInto<T>, most: T) -> T {
    value.try_into().unwrap_or(most)
}

fn errno(err: i32) -> i16 {
    narrow(err, i16::MAX)
}

impl Entry {
    /// One event, whose stage is `stage`.
    pub fn of(event: &KernelEvent, stage: Option<u32>) -> Self {
        let (mut unacked, unsent, unread) = event.tcp.as_ref().map_or((0, 0, 0), queues);
        if matches!(event.endpoint.state, Some(TcpState::SynSent | TcpState::SynRecv)) {
            // Nothing but the SYN, which is no data (`SIOCOUTQ` tells 0 too).
            unacked = 0;
        }
        let window = event.tcp.as_ref().and_then(|tcp| offered(tcp, event.endpoint.state));
        let what = What::of(event, stage);
        Self { time: event.time, span_ms: 0, count: event.stands_for, unacked, unsent, unread, window, what }
    }

    /// The end of a stall of `stage` timeouts, seen at `time`.
    pub fn recovered(time: u64, stage: u8, tcp: &Tcp) -> Self {
        let (unacked, unsent, unread) = queues(tcp);
        let (window, what) = (Some(tcp.raw.snd_wnd), What::Recovered { stage });
        Self { time, span_ms: 0, count: 1, unacked, unsent, unread, window, what }
    }

    /// Takes `next` into this run.
    pub(super) fn join(&mut self, mut next: Self) {
        self.span_ms = narrow(next.time.saturating_sub(self.time) / 1_000_000, u32::MAX);
        self.count = self.count.saturating_add(next.count);
        (self.unacked, self.unsent, self.unread) = (next.unacked, next.unsent, next.unread);
        self.window = next.window;
        if let (Some(segments), Some(more)) = (next.what.segments(), self.what.segments()) {
            *segments = segments.saturating_add(*more);
        }
        self.what = next.what;
    }
}

/// Before the handshake is done the peer has offered nothing.
fn offered(tcp: &Tcp, state: Option<TcpState>) -> Option<u32> {
    let unknown = matches!(state, Some(TcpState::SynSent | TcpState::Close));
    Some(tcp.raw.snd_wnd).filter(|&window| window != 0 || !unknown)
}

fn queues(tcp: &Tcp) -> (u32, u32, u32) {
    (tcp.unacked_bytes(), tcp.unsent_bytes(), tcp.unread_bytes())
}
