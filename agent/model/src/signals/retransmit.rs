//! A segment was sent again, or the attempt failed (6.17+).

use std::time::Duration;

use agent_common::{record, retransmit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::{Describe, Kept, Known, Mark, Recorded, Sections, Signal, Way, errno, narrow};
use crate::decode::DecodeError;
use crate::event::{HostFacts, KernelEvent, RetransmitKind, TcpFlags};
use crate::words;

/// `tcp_retransmit_skb`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retransmit {
    /// Why.
    pub kind: RetransmitKind,
    /// 0 sent, negative errno, 1 dropped by the local qdisc.
    pub err: i32,
    /// Segments.
    pub segments: u16,
    /// Sequence numbers `seq..end_seq`.
    pub seq: u32,
    /// See `seq`.
    pub end_seq: u32,
    /// TCP flags.
    pub tcp_flags: TcpFlags,
}

/// In a timeline: data or a SYN was sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resend {
    /// Why.
    pub kind: RetransmitKind,
    /// n-th consecutive timeout, from 1; 0 for other kinds.
    pub stage: u8,
    /// 0 sent, negative errno, 1 dropped by the local qdisc.
    pub err: i16,
    /// Segments of the run; stops at 65,535.
    pub segments: u16,
    /// `icsk_rto`, jiffies.
    pub rto: u32,
}

/// In a line.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Retransmit")]
pub struct Section {
    /// Why.
    pub kind: RetransmitKind,
    /// n-th consecutive timeout of this stall, from 1.
    pub stage: Option<u32>,
    /// Retransmission timeout in force.
    pub rto_ms: Option<u64>,
    /// 0 sent, negative errno, 1 dropped by the local queueing discipline.
    pub err: i32,
    /// Segments.
    pub segments: u16,
    /// First sequence number.
    pub seq: Option<u32>,
    /// One past the last sequence number.
    pub end_seq: Option<u32>,
    /// TCP flags.
    pub flags: Option<TcpFlags>,
}

impl Recorded for Retransmit {
    type Record = record::Retransmit;
    type Kept = Resend;
    const MARK: Mark = Mark::Repeat;
    const WAY: Way = Way::Out;

    fn decode(raw: Self::Record, _: &record::Header) -> Result<Self, DecodeError> {
        let record::Retransmit { seq, end_seq, err, kind, segments, tcp_flags, reserved: _ } = raw;
        let kind = kind_of(kind)?;
        Ok(Self { kind, err, segments, seq, end_seq, tcp_flags: TcpFlags(tcp_flags) })
    }

    fn keep(&self, event: &KernelEvent, stage: Option<u32>) -> Resend {
        Resend {
            kind: self.kind,
            stage: narrow_stage(stage),
            err: errno(self.err),
            segments: self.segments,
            rto: event.tcp.as_ref().map_or(0, |tcp| tcp.raw.rto),
        }
    }
}

fn kind_of(number: u16) -> Result<RetransmitKind, DecodeError> {
    Ok(match number {
        retransmit::UNKNOWN => RetransmitKind::Unknown,
        retransmit::TIMEOUT => RetransmitKind::Timeout,
        retransmit::FAST => RetransmitKind::Fast,
        retransmit::TAIL_LOSS_PROBE => RetransmitKind::TailLossProbe,
        retransmit::REORDER => RetransmitKind::Reorder,
        retransmit::SLOW_START => RetransmitKind::SlowStart,
        retransmit::SYN => RetransmitKind::Syn,
        retransmit::SYNACK => RetransmitKind::Synack,
        _ => return Err(DecodeError::Kind(number)),
    })
}

/// A stage as timelines keep it; 0 is none.
pub(super) fn narrow_stage(stage: Option<u32>) -> u8 {
    stage.map_or(0, |stage| narrow(stage, u8::MAX))
}

impl Signal for Retransmit {
    /// The kernel raises `icsk_retransmits` before this event, so that number is the stage (docs/kernel.md, "What a
    /// retransmission's event already counts"). It stays 0 where the kernel does not count: into a window that the peer shrank to zero.
    fn stage(&self, event: &KernelEvent) -> Option<u32> {
        let is_counted = matches!(self.kind, RetransmitKind::Timeout | RetransmitKind::Syn);
        let tcp = event.tcp.as_ref().filter(|_| is_counted)?;
        Some(tcp.raw.retransmits.into()).filter(|&stage| stage > 0)
    }

    fn kind(&self) -> Option<RetransmitKind> {
        Some(self.kind)
    }

    fn sections(&self, known: &Known<'_>) -> Sections {
        let Self { kind, err, segments, seq, end_seq, tcp_flags } = *self;
        let (seq, end_seq, flags) = (Some(seq), Some(end_seq), Some(tcp_flags));
        let section = Section { err, segments, seq, end_seq, flags, ..Section::of(kind, known) };
        Sections { retransmit: Some(section), ..Sections::default() }
    }
}

impl Section {
    /// Of one segment that was sent, of which nothing is known.
    pub(super) fn of(kind: RetransmitKind, known: &Known<'_>) -> Self {
        let rto_ms = known.rto.as_ref().map(Duration::as_millis);
        Self {
            kind,
            stage: known.stage,
            rto_ms: rto_ms.map(|ms| ms.try_into().unwrap_or(u64::MAX)),
            err: 0,
            segments: 1,
            seq: None,
            end_seq: None,
            flags: None,
        }
    }
}

impl Kept for Resend {
    /// Recovery comes in runs, timeouts one by one.
    fn joined_by(&self, next: &Self) -> Option<Self> {
        let is_run = self.kind == next.kind && self.err == next.err && is_clocked_by_acks(self.kind);
        let segments = self.segments.saturating_add(next.segments);
        is_run.then_some(Self { segments, ..*next })
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

impl Describe for Resend {
    fn text(&self, _host: &HostFacts) -> String {
        let failed = match self.err {
            0 => String::new(),
            1 => ", dropped by the local queue".to_owned(),
            errno => format!(", not sent: {}", words::errno(errno.into())),
        };
        let many = if self.segments == 1 { String::new() } else { format!(", {} segments", self.segments) };
        format!("retransmit {}{many}{failed}", words::kind(self.kind))
    }

    fn stage(&self) -> Option<u8> {
        Some(self.stage).filter(|&stage| stage > 0)
    }

    fn rto(&self) -> Option<u32> {
        self.stage().map(|_| self.rto)
    }
}
