//! When the kernel will give up a connection, and by which rule.
//!
//! Pure: facts in, [`Outlook`] out; no clock, no kernel. Every prediction assumes that **the peer stays silent**; an
//! ACK makes it void.
//!
//! The kernel tests the time since the first retransmission, not a count, and only when a timer runs, so
//! `tcp_retries2` gives a lower bound and the connection dies at the first timeout past it. The instant is
//! computed by running the kernel's own timers forward ([`life`], [`probe`], [`keepalive`], [`shrunk`],
//! [`synack`]) over a model of its timer wheel ([`clock`]). What remains uncertain, and is all that makes
//! the interval wide, is how far into its jiffy a record was taken, how late a softirq runs, and which
//! bucket of the wheel follows from that.
//!
//! Not foreseen: `tcp_out_of_resources` (a closed socket among too many), a retransmission that fails
//! locally later on, a timer that finds the socket locked, `TCP_THIN_LINEAR_TIMEOUTS` (no record has it;
//! the sysctl is read), suspend.

use std::time::Duration;

use clock::{Clock, Window};
use life::Life;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Tcp, TcpState};

pub mod clock;
mod facts;
pub mod keepalive;
pub mod life;
pub mod policy;
pub mod probe;
pub mod schedule;
pub mod shrunk;
pub mod synack;

#[cfg(test)]
mod tests;

/// What ends a connection whose peer is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// `tcp_retries2`, through the time T(N) that N retransmissions would take.
    TcpRetries2,
    /// `TCP_USER_TIMEOUT`.
    TcpUserTimeout,
    /// `TCP_SYNCNT` or `tcp_syn_retries`, with `tcp_syn_linear_timeouts` from 6.5.
    TcpSynRetries,
    /// The listener's `TCP_SYNCNT` or `tcp_synack_retries`.
    TcpSynackRetries,
    /// `tcp_orphan_retries`: the application has closed the socket.
    TcpOrphanRetries,
    /// `tcp_keepalive_probes` or `TCP_KEEPCNT`.
    Keepalive,
    /// A shut window and no answer to `tcp_retries2` probes, or to retransmissions for twice `rto_max`.
    ZeroWindowProbes,
    /// `tcp_fin_timeout` or `TCP_LINGER2`: closed here, the peer never closes.
    TcpFinTimeout,
    /// Nothing ever.
    None,
}

impl Rule {
    /// The setting, as it is written where it is set.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TcpRetries2 => "tcp_retries2",
            Self::TcpUserTimeout => "TCP_USER_TIMEOUT",
            Self::TcpSynRetries => "tcp_syn_retries",
            Self::TcpSynackRetries => "tcp_synack_retries",
            Self::TcpOrphanRetries => "tcp_orphan_retries",
            Self::Keepalive => "keepalive",
            Self::ZeroWindowProbes => "zero-window probes",
            Self::TcpFinTimeout => "tcp_fin_timeout",
            Self::None => "nothing",
        }
    }
}

/// Which of the connection's timers decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Timer {
    /// `ICSK_TIME_RETRANS`.
    Retransmit,
    /// `ICSK_TIME_RETRANS` with the peer's window shut: retransmissions serve as probes.
    ShrunkWindow,
    /// `ICSK_TIME_PROBE0`.
    Probe0,
    /// The keepalive timer.
    Keepalive,
    /// The keepalive timer of a closed socket in `FIN_WAIT2`.
    FinWait2,
    /// The request socket's.
    Synack,
    /// No timer runs: the connection waits for ever.
    None,
}

/// At which point of the kernel's work the facts were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// No handler at work, as in an iterator's walk: `icsk_rto` is the armed one, the timer's expiry holds.
    Rest,
    /// `tcp_retransmit_skb` from the retransmission timer: `icsk_retransmits` is counted already,
    /// `icsk_rto` not yet doubled, the timer not yet armed.
    Timeout,
    /// The same, but the local qdisc dropped the packet (`err` 1, seen from 6.17): the timer is armed for
    /// half a second without backoff (`TCP_RESOURCE_PROBE_INTERVAL`).
    LocalDrop,
    /// `tcp_retransmit_skb` from the tail loss probe's timer: the RTO starts anew, `retrans_stamp` does not.
    LossProbe,
    /// `tcp_retransmit_skb` while an ACK is worked on: the RTO starts anew.
    Recovery,
}

/// Differences between kernels that the record does not show. It shows the others: `rto_max`
/// absent before 6.15, `tcp_syn_linear_timeouts` absent before 6.5, `usec_ts`. That `icsk_backoff` grows
/// with every SYN timeout before 6.12 and only past the linear ones since does not matter, because the
/// model counts `icsk_retransmits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Era {
    /// `tcp_clamp_probe0_to_user_timeout` may wrap around once the user timeout has passed and so wait a
    /// full interval more (up to 6.18.15 at least; fixed in 6.12.95 and 7.2).
    pub probe0_clamp_wraps: bool,
}

impl Default for Era {
    fn default() -> Self {
        Self { probe0_clamp_wraps: true }
    }
}

/// What is known of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// When they were read, ns of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// [`crate::event::HostFacts::hz`].
    pub hz: u32,
    /// The socket's state.
    pub state: TcpState,
    /// See there.
    pub moment: Moment,
    /// See there.
    pub era: Era,
    /// `icsk_ack.lrcvtime`, jiffies (32 bit): last data received. Keepalive counts from this or from the
    /// last ACK, whichever is later.
    pub lrcvtime: Option<u32>,
    /// The socket.
    pub tcp: &'a Tcp,
}

/// A half-open connection at `tcp_retransmit_synack`, whose counts are those before this one.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// `num_timeout`.
    pub timeouts: u8,
    /// Half-open connections of the listener.
    pub syn_queue: u32,
    /// Its backlog.
    pub backlog: u32,
    /// It was not the timer that sent again but the client's own repeated SYN, which arms the timer anew
    /// without counting (`tcp_check_req`).
    pub duplicate_syn: bool,
}

/// What comes if the peer stays silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlook {
    /// Which timer decides.
    pub timer: Timer,
    /// What will end the connection; [`Rule::None`] if nothing will.
    pub rule: Rule,
    /// Timeouts (probes, for a shut window and keepalive) so far without an answer.
    pub stage: u32,
    /// What the timer is armed for now, or is about to be.
    pub rto: Duration,
    /// When it runs.
    pub fires: Option<Window>,
    /// What it is armed for after that; `None` if it then kills.
    pub next_rto: Option<Duration>,
    /// How often the timer still runs, the last time included; 0 if the rule is none.
    pub runs_left: u32,
    /// The instant the kernel gives up.
    pub death: Option<Window>,
}

impl Outlook {
    /// No timer, no end.
    pub const NEVER: Self = Self {
        timer: Timer::None,
        rule: Rule::None,
        stage: 0,
        rto: Duration::ZERO,
        fires: None,
        next_rto: None,
        runs_left: 0,
        death: None,
    };

    /// Either of two that only differ in when.
    fn or(self, other: Self) -> Self {
        let either = |one: Option<Window>, other: Option<Window>| {
            one.zip(other).map(|(one, other)| Window {
                earliest: one.earliest.min(other.earliest),
                latest: one.latest.max(other.latest),
            })
        };
        let (fires, death) = (either(self.fires, other.fires), either(self.death, other.death));
        Self { fires, death, ..self }
    }

    fn new(timer: Timer, stage: u32, life: &Life, clock: &Clock) -> Self {
        let duration = |jiffies: u64| Duration::from_nanos(jiffies.saturating_mul(clock.tick() as u64));
        let (rule, death) = life.death.unzip();
        Self {
            timer,
            rule: rule.unwrap_or(Rule::None),
            stage,
            rto: life.firings.first().map_or(Duration::ZERO, |firing| duration(firing.timeout)),
            fires: life.firings.first().map(|firing| clock.window(firing.at)),
            next_rto: life.firings.get(1).map(|firing| duration(firing.timeout)),
            runs_left: death.map_or(0, |_| life.firings.len() as u32),
            death: death.map(|span| clock.window(span)),
        }
    }
}

/// Says what comes for the connection of `facts` if its peer stays silent.
pub fn outlook(facts: &Facts) -> Outlook {
    let raw = &facts.tcp.raw;
    let clock = facts.clock();
    match facts.timer() {
        Timer::Retransmit => {
            let policy = facts.policy();
            let life = facts.retransmission(&policy, &clock).live(&policy, &clock);
            Outlook::new(Timer::Retransmit, raw.retransmits.into(), &life, &clock)
        }
        Timer::ShrunkWindow => {
            let policy = facts.policy();
            let life = facts.shrunk_window(&policy, &clock).live(&policy, &clock);
            Outlook::new(Timer::ShrunkWindow, raw.backoff.into(), &life, &clock)
        }
        Timer::Probe0 => {
            let life = facts.probes(&clock).live(&clock);
            Outlook::new(Timer::Probe0, raw.probes_out.into(), &life, &clock)
        }
        Timer::Keepalive => {
            let life = facts.keepalive(&clock).live(&clock);
            Outlook::new(Timer::Keepalive, raw.probes_out.into(), &life, &clock)
        }
        Timer::FinWait2 => Outlook::new(Timer::FinWait2, 0, &facts.fin_wait2(&clock), &clock),
        Timer::Synack | Timer::None => Outlook::NEVER,
    }
}

/// Says what comes for a half-open connection of the listener of `facts` if the client stays silent.
/// `TCP_DEFER_ACCEPT` and Fast Open are not considered.
pub fn request_outlook(listener: &Facts, request: &Request) -> Outlook {
    let clock = listener.clock();
    let synack = listener.synack(request, &clock);
    Outlook::new(Timer::Synack, synack.timeouts, &synack.live(&clock), &clock)
}

/// Says what comes for a half-open connection whose SYN-ACK was sent again at `time`, of a listener whose
/// socket was `tcp` at `seen`, both ns of `CLOCK_MONOTONIC`. The model assumes that the timer sent
/// it: a client's repeated SYN gives the same event, and the kernel gives up later then.
///
/// The event has no jiffies. That clock drives them, so the only thing unknown is how far into its jiffy the socket
/// was read: either of two jiffies may be now.
pub fn half_open_outlook(tcp: &Tcp, seen: u64, time: u64, hz: u32, request: &Request) -> Outlook {
    let ticks = time.saturating_sub(seen) / (1_000_000_000 / u64::from(hz));
    let at = |jiffies: u64| {
        let mut tcp = *tcp;
        tcp.raw.jiffies = tcp.raw.jiffies.wrapping_add(jiffies);
        let (state, moment, era) = (TcpState::Listen, Moment::Timeout, Era::default());
        request_outlook(&Facts { time, hz, state, moment, era, lrcvtime: None, tcp: &tcp }, request)
    };
    at(ticks).or(at(ticks + 1))
}
