//! From a socket's record to the timer that decides.

use super::clock::{Clock, MILLISECOND, Span};
use super::keepalive::Keepalive;
use super::life::{Life, Retransmission, clamp_rto};
use super::policy::{Limit, Policy, TCP_RTO_MAX_SECS};
use super::probe::{Orphan, Probes};
use super::shrunk::ShrunkWindow;
use super::synack::Synack;
use super::{Facts, Moment, Request, Rule, Timer};
use crate::event::TcpState;

/// `icsk_pending`, `include/net/inet_connection_sock.h`.
const ICSK_TIME_RETRANS: u8 = 1;
const ICSK_TIME_PROBE0: u8 = 3;
const ICSK_TIME_LOSS_PROBE: u8 = 5;
const ICSK_TIME_REO_TIMEOUT: u8 = 6;
/// `SOCK_KEEPOPEN` of `enum sock_flags`.
const SOCK_KEEPOPEN: u64 = 1 << 3;
/// `tcp_stream_is_thin`: fewer packets in flight than this. Slow start has ended by the time it is asked.
const THIN_PACKETS: u32 = 4;
const MICROSECOND: u64 = 1000;

impl Facts<'_> {
    pub(super) fn clock(&self) -> Clock {
        Clock::new(self.time, self.tcp.raw.jiffies, self.hz)
    }

    /// Which timer decides (`tcp_write_timer_handler`, `tcp_keepalive_timer`).
    pub(super) fn timer(&self) -> Timer {
        match self.state {
            TcpState::Close | TcpState::Listen | TcpState::TimeWait | TcpState::NewSynRecv => Timer::None,
            TcpState::SynSent | TcpState::SynRecv => Timer::Retransmit,
            TcpState::FinWait2 if self.tcp.is_orphan() => Timer::FinWait2,
            TcpState::Established
            | TcpState::FinWait1
            | TcpState::FinWait2
            | TcpState::CloseWait
            | TcpState::LastAck
            | TcpState::Closing => self.synchronized_timer(),
        }
    }

    fn synchronized_timer(&self) -> Timer {
        let raw = &self.tcp.raw;
        let idle = raw.packets_out == 0;
        match () {
            () if !idle && raw.snd_wnd == 0 && !self.tcp.is_orphan() => Timer::ShrunkWindow,
            () if !idle => Timer::Retransmit,
            () if raw.pending == ICSK_TIME_PROBE0 => Timer::Probe0,
            () if raw.sock_flags & SOCK_KEEPOPEN != 0 && self.tcp.unsent_bytes() == 0 => Timer::Keepalive,
            () => Timer::None,
        }
    }

    pub(super) fn policy(&self) -> Policy {
        Policy {
            hz: self.hz,
            rto_max: self.rto_max(),
            user_timeout: self.tcp.raw.user_timeout,
            limit: self.limit(),
            thin: self.thin_rto(),
        }
    }

    fn limit(&self) -> Limit {
        let (raw, netns) = (&self.tcp.raw, &self.tcp.netns);
        let syn_retries = if raw.syn_retries == 0 { netns.syn_retries } else { raw.syn_retries };
        match self.state {
            TcpState::SynSent => {
                let linear = self.tcp.syn_linear_timeouts().unwrap_or(0);
                Limit::Syn { retries: syn_retries, linear }
            }
            TcpState::SynRecv => Limit::Syn { retries: syn_retries, linear: 0 },
            TcpState::Established
            | TcpState::FinWait1
            | TcpState::FinWait2
            | TcpState::TimeWait
            | TcpState::Close
            | TcpState::CloseWait
            | TcpState::LastAck
            | TcpState::Listen
            | TcpState::Closing
            | TcpState::NewSynRecv => self.limit_of_data(),
        }
    }

    fn limit_of_data(&self) -> Limit {
        let netns = &self.tcp.netns;
        if self.tcp.is_orphan() {
            let soft_error = self.tcp.raw.err_soft != 0;
            Limit::Orphan { retries: netns.orphan_retries, soft_error }
        } else {
            Limit::Retries2(netns.retries2)
        }
    }

    /// `__tcp_set_rto` within its bounds, if the stream is thin and `tcp_thin_linear_timeouts` is set.
    fn thin_rto(&self) -> Option<u32> {
        let raw = &self.tcp.raw;
        let thin = self.state == TcpState::Established && raw.packets_out < THIN_PACKETS;
        let rto = u64::from(raw.srtt_us >> 3) + u64::from(raw.rttvar_us);
        let jiffies = (rto * u64::from(self.hz)).div_ceil(1_000_000) as u32;
        let jiffies = jiffies.max(self.tcp.rto_min().unwrap_or(0)).min(self.rto_max());
        (thin && self.tcp.netns.thin_linear_timeouts != 0).then_some(jiffies)
    }

    fn rto_max(&self) -> u32 {
        self.tcp.rto_max().unwrap_or(TCP_RTO_MAX_SECS as u32 * self.hz)
    }

    fn in_timer(&self) -> bool {
        match self.moment {
            Moment::Timeout | Moment::LocalDrop | Moment::LossProbe => true,
            Moment::Rest | Moment::Recovery => false,
        }
    }

    pub(super) fn retransmission(&self, policy: &Policy, clock: &Clock) -> Retransmission {
        let raw = &self.tcp.raw;
        let now = clock.now(self.in_timer());
        let rto = self.armed_rto(policy);
        let stamp = self.stamp(clock);
        let anew = |at| {
            clock.arm(at, stamp.map_or((rto.into(), rto.into()), |s| clamp_rto(policy, clock, rto, s, at)))
        };
        let fires = match self.moment {
            Moment::Rest => match raw.pending {
                ICSK_TIME_RETRANS => self.pending(clock, rto.into()),
                ICSK_TIME_LOSS_PROBE | ICSK_TIME_REO_TIMEOUT => anew(self.pending(clock, rto.into())),
                _ => anew(now),
            },
            Moment::Timeout => anew(now),
            Moment::LocalDrop => clock.arm(now, (u64::from(self.hz / 2), u64::from(self.hz / 2))),
            Moment::LossProbe | Moment::Recovery => clock.arm(now, (rto.into(), rto.into())),
        };
        let usec = self.has_usec_stamps();
        Retransmission { rto, retransmits: raw.retransmits.into(), stamp, fires, usec }
    }

    /// At a timeout's event `icsk_rto` is still that of the timer that has just run.
    fn armed_rto(&self, policy: &Policy) -> u32 {
        let raw = &self.tcp.raw;
        match self.moment {
            Moment::Timeout => policy.next_rto(raw.rto, raw.retransmits.into()),
            Moment::Rest | Moment::LocalDrop | Moment::LossProbe | Moment::Recovery => raw.rto,
        }
    }

    /// `retrans_stamp`. At the event of the first retransmission it is about to be set.
    fn stamp(&self, clock: &Clock) -> Option<Span> {
        let unit = if self.has_usec_stamps() { MICROSECOND } else { MILLISECOND as u64 };
        match (self.tcp.raw.retrans_stamp, self.moment) {
            (0, Moment::Rest | Moment::LossProbe) => None,
            (0, _) => Some(clock.rounded_stamp(clock.now(self.in_timer()))),
            (stamp, _) => Some(clock.stamp(stamp, unit)),
        }
    }

    fn has_usec_stamps(&self) -> bool {
        self.tcp.raw.usec_ts == 1
    }

    /// When the pending write timer runs, if it was armed at most `timeout` jiffies ahead: less after
    /// a tail loss probe or under a user timeout, which do not always wait in full.
    fn pending(&self, clock: &Clock, timeout: u64) -> Span {
        let raw = &self.tcp.raw;
        let in_full = raw.pending == ICSK_TIME_RETRANS && raw.retransmits > 0 && raw.user_timeout == 0;
        self.until(clock, self.tcp.timer_expires(), timeout, in_full)
    }

    fn until(&self, clock: &Clock, expires: Option<u64>, timeout: u64, in_full: bool) -> Span {
        let Some(expires) = expires else {
            let now = clock.now(false);
            return Span { early: now.early, late: clock.arm(now, (timeout, timeout)).late };
        };
        let left = expires.saturating_sub(self.tcp.raw.jiffies);
        let least = if in_full { timeout.max(left) } else { left };
        clock.pending(expires, (least, timeout.max(left)))
    }

    pub(super) fn shrunk_window(&self, policy: &Policy, clock: &Clock) -> ShrunkWindow {
        let raw = &self.tcp.raw;
        let Retransmission { rto, retransmits, stamp, fires, usec: _ } = self.retransmission(policy, clock);
        let is_armed = match self.moment {
            Moment::Rest => true,
            Moment::Timeout | Moment::LocalDrop | Moment::LossProbe | Moment::Recovery => false,
        };
        let armed = is_armed.then(|| self.tcp.timer_expires().unwrap_or(raw.jiffies));
        let started = armed.map_or_else(
            || raw.jiffies.wrapping_sub(raw.rto.into()),
            |expires| expires.wrapping_sub(rto.into()),
        );
        let heard = clock.instant32(raw.rcv_tstamp);
        let answered = raw.retrans_stamp != 0 && heard >= clock.instant(started);
        let expires = armed.unwrap_or_else(|| raw.jiffies.wrapping_add(rto.into()));
        ShrunkWindow {
            rto,
            retransmits,
            stamp: stamp.unwrap_or(Span::exact(clock.instant32(raw.lsndtime))),
            stamped: stamp.is_some(),
            last: (!answered).then_some(heard),
            expires: Span::exact(clock.instant(expires)),
            fires,
        }
    }

    pub(super) fn probes(&self, clock: &Clock) -> Probes {
        let (raw, netns) = (&self.tcp.raw, &self.tcp.netns);
        let orphan = Orphan { retries: netns.orphan_retries, soft_error: raw.err_soft != 0 };
        // A probe raises both counts, an answer clears only `icsk_probes_out`.
        let answered = raw.backoff > 0 && raw.probes_out == 0;
        let round_trip = u64::from(raw.srtt_us >> 3) * 2;
        let mut probes = Probes {
            rto: raw.rto,
            rto_min: self.hz / 5,
            rto_max: self.rto_max(),
            backoff: raw.backoff.into(),
            probes_out: raw.probes_out.into(),
            tstamp: (raw.probes_tstamp != 0).then(|| Span::exact(clock.instant32(raw.probes_tstamp))),
            fires: clock.now(false),
            retries2: netns.retries2,
            orphan: self.tcp.is_orphan().then_some(orphan),
            user_timeout: raw.user_timeout,
            answered: answered.then(|| clock.msecs_to_jiffies(round_trip.div_ceil(1000))),
            clamp_wraps: self.era.probe0_clamp_wraps,
        };
        let in_full = raw.user_timeout == 0;
        probes.fires = self.until(clock, self.tcp.timer_expires(), probes.timeout(), in_full);
        probes
    }

    pub(super) fn keepalive(&self, clock: &Clock) -> Keepalive {
        let (raw, netns) = (&self.tcp.raw, &self.tcp.netns);
        let or = |own: u32, shared: u32| u64::from(if own == 0 { shared } else { own });
        let time = or(raw.keepalive_time, netns.keepalive_time);
        let intvl = or(raw.keepalive_intvl, netns.keepalive_intvl);
        let heard = clock.instant32(raw.rcv_tstamp);
        let last = self.lrcvtime.map_or(heard, |data| heard.max(clock.instant32(data)));
        let armed = if raw.probes_out == 0 { time } else { intvl };
        Keepalive {
            time,
            intvl,
            probes: or(raw.keepalive_probes.into(), netns.keepalive_probes.into()) as u32,
            user_timeout: raw.user_timeout,
            probes_out: raw.probes_out.into(),
            last,
            fires: self.until(clock, self.tcp.keepalive_expires(), armed, raw.probes_out > 0),
        }
    }

    /// `tcp_keepalive_timer` of a closed socket in `FIN_WAIT2` ends it: with a reset, or by handing it to a
    /// `TIME_WAIT` mini socket for what `tcp_fin_timeout` has left.
    pub(super) fn fin_wait2(&self, clock: &Clock) -> Life {
        let timeout = u64::from(self.tcp.netns.fin_timeout);
        let at = self.until(clock, self.tcp.keepalive_expires(), timeout, false);
        let mut life = Life::default();
        life.fire(timeout, at);
        life.kill(Rule::TcpFinTimeout, at);
        life
    }

    pub(super) fn synack(&self, request: &Request, clock: &Clock) -> Synack {
        let (raw, netns) = (&self.tcp.raw, &self.tcp.netns);
        let retries = if raw.syn_retries == 0 { netns.synack_retries } else { raw.syn_retries };
        let mut synack = Synack {
            timeouts: u32::from(request.timeouts) + u32::from(!request.duplicate_syn),
            retries: retries.into(),
            rto_max: self.rto_max(),
            syn_queue: request.syn_queue,
            backlog: request.backlog,
            fires: clock.now(!request.duplicate_syn),
        };
        let timeout = synack.timeout(clock);
        synack.fires = clock.arm(synack.fires, (timeout, timeout));
        synack
    }
}
