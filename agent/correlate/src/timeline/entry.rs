//! What a timeline is made of.

use agent_model::event::{KernelEvent, Tcp, TcpState};
use agent_model::signals::{Recovered, What};
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
        let (window, what) = (Some(tcp.raw.snd_wnd), What::Recovered(Recovered { stage }));
        Self { time, span_ms: 0, count: 1, unacked, unsent, unread, window, what }
    }

    /// This run with `next`, if that continues it.
    pub(super) fn joined_by(&self, next: &Self) -> Option<Self> {
        let what = self.what.joined_by(&next.what)?;
        let span_ms = next.time.saturating_sub(self.time) / 1_000_000;
        Some(Self {
            time: self.time,
            span_ms: span_ms.try_into().unwrap_or(u32::MAX),
            count: self.count.saturating_add(next.count),
            what,
            ..*next
        })
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
