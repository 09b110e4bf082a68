//! What a full TCP socket knew, in named units: the kernel's jiffies end here.

use std::collections::BTreeMap;

use agent_common::record::{self, ABSENT8, ABSENT32};
use agent_model::{event, words};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// `SOCK_KEEPOPEN` in `skc_flags`.
const KEEPOPEN: u64 = 1 << 3;
/// `SOCK_LINGER` in `skc_flags`.
const LINGER: u64 = 1 << 4;
/// `SEND_SHUTDOWN` in `sk_shutdown`; `RCV_SHUTDOWN` is 1.
const SEND_SHUTDOWN: u8 = 2;

/// State of a TCP socket. Sizes in bytes, windows too, unless named otherwise.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tcp {
    /// Retransmission timeout.
    pub rto_ms: u64,
    /// Lower limit of the timeout.
    pub rto_min_ms: Option<u64>,
    /// Upper limit of the timeout; kernel 6.15 and later.
    pub rto_max_ms: Option<u64>,
    /// `TCP_USER_TIMEOUT`; 0 is unset.
    pub user_timeout_ms: u32,
    /// Exponent of the timeout.
    pub backoff: u8,
    /// Consecutive timeouts.
    pub retransmits: u8,
    /// Timeouts in the connection's life; kernel 6.7 and later.
    pub total_timeouts: Option<u32>,
    /// Segments sent again in the connection's life.
    pub total_retransmits: u32,
    /// Timer that the socket waits for.
    pub timer: String,
    /// When that timer fires, from the event on; negative if it just did.
    pub timer_in_ms: Option<i64>,
    /// Smoothed round trip time.
    pub srtt_us: u32,
    /// Its variation.
    pub rttvar_us: u32,
    /// Congestion window, packets.
    pub cwnd: u32,
    /// Slow start threshold, packets.
    pub ssthresh: u32,
    /// Window that the peer offers.
    pub snd_wnd: u32,
    /// Window offered to the peer.
    pub rcv_wnd: u32,
    /// Packets in flight.
    pub packets_out: u32,
    /// Packets thought lost.
    pub lost: u32,
    /// Packets selectively acknowledged.
    pub sacked: u32,
    /// Packets sent again and not yet acknowledged.
    pub retrans_out: u32,
    /// First sequence number not acknowledged.
    pub snd_una: u32,
    /// Next sequence number to send.
    pub snd_nxt: u32,
    /// One past the last byte that the application wrote.
    pub write_seq: u32,
    /// First sequence number that the application has not read.
    pub copied_seq: u32,
    /// Next sequence number expected.
    pub rcv_nxt: u32,
    /// Sent and acknowledged.
    pub bytes_acked: u64,
    /// Sent, retransmissions included.
    pub bytes_sent: u64,
    /// Received in order.
    pub bytes_received: u64,
    /// Sent again.
    pub bytes_retrans: u64,
    /// Received in order and not read by the application.
    pub unread_bytes: u32,
    /// Written by the application and never sent.
    pub unsent_bytes: u32,
    /// Sent and not acknowledged.
    pub unacked_bytes: u32,
    /// Receive memory in use.
    pub rmem_alloc: u32,
    /// `SO_RCVBUF`.
    pub rcvbuf: u32,
    /// The application set `SO_RCVBUF`: the kernel does not tune it.
    pub rcvbuf_fixed: bool,
    /// Send memory queued.
    pub wmem_queued: u32,
    /// `SO_SNDBUF`.
    pub sndbuf: u32,
    /// The application set `SO_SNDBUF`: the kernel does not tune it.
    pub sndbuf_fixed: bool,
    /// Memory charged ahead of use.
    pub forward_alloc: i32,
    /// Received while the application held the socket's lock.
    pub backlog: u32,
    /// errno that the application will see.
    pub error: Option<String>,
    /// errno of an ICMP error, not yet fatal.
    pub soft_error: Option<String>,
    /// Zero-window or keepalive probes not answered.
    pub probes_out: u8,
    /// Congestion state.
    pub ca_state: String,
    /// Maximum segment size in use.
    pub mss: u32,
    /// Duplicate segments that the peer reported (DSACK).
    pub dsack_dups: u32,
    /// Reordering seen, packets.
    pub reordering: u32,
    /// Data segments sent.
    pub data_segments_sent: u32,
    /// Since the last acknowledgement.
    pub last_ack_ms: u64,
    /// Since data was last sent.
    pub last_sent_ms: u64,
    /// Time spent sending.
    pub busy_ms: Option<u64>,
    /// Part of `busy_ms` limited by the peer's window.
    pub rwnd_limited_ms: Option<u64>,
    /// Part of `busy_ms` limited by the send buffer.
    pub sndbuf_limited_ms: Option<u64>,
    /// The application closed the socket; the kernel finishes alone.
    pub orphan: bool,
    /// No more is received (`shutdown`, or the peer's FIN).
    pub receive_shutdown: bool,
    /// No more is sent.
    pub send_shutdown: bool,
    /// `SO_KEEPALIVE`.
    pub keepalive: bool,
    /// `SO_LINGER`'s time, where the option is set.
    pub linger_ms: Option<u64>,
    /// `TCP_KEEPIDLE`; 0 is the namespace's.
    pub keepalive_time_ms: u64,
    /// `TCP_KEEPINTVL`; 0 is the namespace's.
    pub keepalive_interval_ms: u64,
    /// `TCP_KEEPCNT`; 0 is the namespace's.
    pub keepalive_probes: u8,
    /// `TCP_SYNCNT`; 0 is the namespace's.
    pub syn_retries: u8,
    /// A subflow of Multipath TCP.
    pub mptcp: Option<bool>,
}

/// Settings of a network namespace that decide when the kernel gives up (`net.ipv4.tcp_*`).
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// `tcp_retries1`
    pub retries1: u8,
    /// `tcp_retries2`
    pub retries2: u8,
    /// `tcp_syn_retries`
    pub syn_retries: u8,
    /// `tcp_synack_retries`
    pub synack_retries: u8,
    /// `tcp_orphan_retries`
    pub orphan_retries: u8,
    /// `tcp_syn_linear_timeouts`; kernel 6.5 and later.
    pub syn_linear_timeouts: Option<u8>,
    /// `tcp_keepalive_time`
    pub keepalive_time_ms: u64,
    /// `tcp_keepalive_intvl`
    pub keepalive_interval_ms: u64,
    /// `tcp_keepalive_probes`
    pub keepalive_probes: u8,
    /// `tcp_fin_timeout`
    pub fin_timeout_ms: u64,
    /// `tcp_abort_on_overflow`
    pub abort_on_overflow: bool,
    /// `tcp_thin_linear_timeouts`
    pub thin_linear_timeouts: bool,
    /// `tcp_rmem[2]`: `SO_RCVBUF` that the kernel's own tuning ends at, bytes.
    pub rmem: Option<u32>,
    /// `tcp_wmem[2]`: `SO_SNDBUF` that the kernel's own tuning ends at, bytes.
    pub wmem: Option<u32>,
}

/// What was counted of one connection since it was first seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    /// Segments sent again by kind; kinds without any are left out.
    pub segments: BTreeMap<String, u32>,
    /// Retransmissions that failed locally; kernel 6.17 and later.
    pub failed: u32,
    /// Resets sent.
    pub resets_sent: u32,
    /// Resets received.
    pub resets_received: u32,
    /// Times that memory was refused.
    pub buf_limit_exceeded: u32,
    /// Received segments dropped for want of memory or of room; kernel 6.11 and later.
    pub dropped: u32,
}

/// Turns jiffies into milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jiffies {
    /// `CONFIG_HZ`.
    pub(crate) hz: u32,
}

impl Jiffies {
    fn ms(self, jiffies: u64) -> u64 {
        let ms = u128::from(jiffies) * 1000 / u128::from(self.hz.max(1));
        u64::try_from(ms).unwrap_or(u64::MAX)
    }

    fn ms32(self, jiffies: u32) -> u64 {
        self.ms(u64::from(jiffies))
    }

    /// `None` for a field that the kernel does not have.
    fn present(self, jiffies: u32) -> Option<u64> {
        (jiffies != ABSENT32).then(|| self.ms32(jiffies))
    }

    fn until(self, now: u64, then: u64) -> i64 {
        let distance = then.wrapping_sub(now).cast_signed();
        let ms = self.ms(distance.unsigned_abs()).cast_signed();
        if distance < 0 { -ms } else { ms }
    }
}

impl Tcp {
    pub(crate) fn new(tcp: &event::Tcp, unit: Jiffies) -> Self {
        let raw = &tcp.raw;
        Self { timer: words::timer(raw.pending).to_owned(), ..timers(tcp, unit) }
            .flow(raw)
            .memory(raw)
            .facts(tcp, unit)
    }

    fn flow(self, raw: &record::Tcp) -> Self {
        Self {
            srtt_us: raw.srtt_us >> 3,
            rttvar_us: raw.rttvar_us,
            cwnd: raw.snd_cwnd,
            ssthresh: raw.snd_ssthresh,
            snd_wnd: raw.snd_wnd,
            rcv_wnd: raw.rcv_wnd,
            packets_out: raw.packets_out,
            lost: raw.lost_out,
            sacked: raw.sacked_out,
            retrans_out: raw.retrans_out,
            snd_una: raw.snd_una,
            snd_nxt: raw.snd_nxt,
            write_seq: raw.write_seq,
            copied_seq: raw.copied_seq,
            rcv_nxt: raw.rcv_nxt,
            bytes_acked: raw.bytes_acked,
            bytes_sent: raw.bytes_sent,
            bytes_received: raw.bytes_received,
            bytes_retrans: raw.bytes_retrans,
            ca_state: words::ca_state(raw.ca_state).to_owned(),
            mss: raw.mss,
            dsack_dups: raw.dsack_dups,
            reordering: raw.reordering,
            data_segments_sent: raw.data_segs_out,
            ..self
        }
    }

    fn memory(self, raw: &record::Tcp) -> Self {
        Self {
            rmem_alloc: raw.rmem_alloc,
            rcvbuf: raw.rcvbuf,
            rcvbuf_fixed: raw.userlocks & 2 != 0,
            wmem_queued: raw.wmem_queued,
            sndbuf: raw.sndbuf,
            sndbuf_fixed: raw.userlocks & 1 != 0,
            forward_alloc: raw.forward_alloc,
            backlog: raw.backlog,
            ..self
        }
    }

    fn facts(self, tcp: &event::Tcp, unit: Jiffies) -> Self {
        let raw = &tcp.raw;
        Self {
            unread_bytes: tcp.unread_bytes(),
            unsent_bytes: tcp.unsent_bytes(),
            unacked_bytes: tcp.unacked_bytes(),
            error: error(raw.err),
            soft_error: error(raw.err_soft),
            probes_out: raw.probes_out,
            orphan: tcp.is_orphan(),
            receive_shutdown: raw.shutdown & 1 != 0,
            send_shutdown: raw.shutdown & SEND_SHUTDOWN != 0,
            keepalive: raw.sock_flags & KEEPOPEN != 0,
            linger_ms: (raw.sock_flags & LINGER != 0).then(|| unit.ms(raw.linger)),
            keepalive_time_ms: unit.ms32(raw.keepalive_time),
            keepalive_interval_ms: unit.ms32(raw.keepalive_intvl),
            keepalive_probes: raw.keepalive_probes,
            syn_retries: raw.syn_retries,
            mptcp: (raw.is_mptcp != ABSENT8).then_some(raw.is_mptcp & 1 != 0),
            ..self
        }
    }
}

/// `None` for no error.
pub(crate) fn error(number: i32) -> Option<String> {
    (number != 0).then(|| words::errno(number))
}

fn timers(tcp: &event::Tcp, unit: Jiffies) -> Tcp {
    let raw = &tcp.raw;
    let since = |stamp: u32| unit.ms32((raw.jiffies as u32).wrapping_sub(stamp));
    let armed = tcp.timer_expires().filter(|_| raw.pending != 0);
    let [busy, rwnd_limited, sndbuf_limited] = raw.chrono.map(|spent| unit.present(spent));
    Tcp {
        rto_ms: unit.ms32(raw.rto),
        rto_min_ms: tcp.rto_min().map(|rto| unit.ms32(rto)),
        rto_max_ms: tcp.rto_max().map(|rto| unit.ms32(rto)),
        user_timeout_ms: raw.user_timeout,
        backoff: raw.backoff,
        retransmits: raw.retransmits,
        total_timeouts: tcp.total_rto(),
        total_retransmits: raw.total_retrans,
        timer_in_ms: armed.map(|expires| unit.until(raw.jiffies, expires)),
        last_ack_ms: since(raw.rcv_tstamp),
        last_sent_ms: since(raw.lsndtime),
        busy_ms: busy,
        rwnd_limited_ms: rwnd_limited,
        sndbuf_limited_ms: sndbuf_limited,
        ..Tcp::default()
    }
}

impl Settings {
    pub(crate) fn new(tcp: &event::Tcp, unit: Jiffies) -> Self {
        let netns = &tcp.netns;
        Self {
            retries1: netns.retries1,
            retries2: netns.retries2,
            syn_retries: netns.syn_retries,
            synack_retries: netns.synack_retries,
            orphan_retries: netns.orphan_retries,
            syn_linear_timeouts: tcp.syn_linear_timeouts(),
            keepalive_time_ms: unit.ms32(netns.keepalive_time),
            keepalive_interval_ms: unit.ms32(netns.keepalive_intvl),
            keepalive_probes: netns.keepalive_probes,
            fin_timeout_ms: unit.ms32(netns.fin_timeout),
            abort_on_overflow: netns.abort_on_overflow != 0,
            thin_linear_timeouts: netns.thin_linear_timeouts != 0,
            rmem: tcp.rmem(),
            wmem: tcp.wmem(),
        }
    }
}

impl Totals {
    pub(crate) fn new(totals: &record::Totals) -> Self {
        let record::Totals {
            segments,
            failed,
            resets_sent,
            resets_received,
            buf_limit_exceeded,
            dropped,
            reserved: _,
        } = *totals;
        let seen = words::KINDS.iter().zip(segments).filter(|(_, count)| *count > 0);
        Self {
            segments: seen.map(|(kind, count)| ((*kind).to_owned(), count)).collect(),
            failed,
            resets_sent,
            resets_received,
            buf_limit_exceeded,
            dropped,
        }
    }
}
