//! Sockets in every state that a timer can be in.

use agent_common::record::{self, ABSENT8, ABSENT32, ABSENT64};

use super::super::clock::{MILLISECOND, SECOND, SOFTIRQ_LATENESS};
use super::super::{Era, Facts, Moment, Outlook, Request, Rule, Timer, outlook, request_outlook};
use crate::event::{Tcp, TcpState};

pub const HZ: u32 = 250;
const TICK: i64 = SECOND / HZ as i64;
const NOW: u64 = 1_000_000_000_000;
const JIFFIES: u64 = 4_300_000_000;
const RTO: u32 = 51;

/// A socket with a segment in flight and the default settings, at `jiffies`.
pub fn established(jiffies: u64) -> Tcp {
    let raw = record::Tcp {
        jiffies,
        timer_expires: jiffies + u64::from(RTO),
        keepalive_expires: ABSENT64,
        rto: RTO,
        rto_min: 50,
        rto_max: 120 * HZ,
        srtt_us: 8 * 500,
        rttvar_us: 200_000,
        rcv_tstamp: jiffies as u32,
        lsndtime: jiffies as u32,
        snd_wnd: 65_536,
        packets_out: 1,
        pending: 1,
        ..Default::default()
    };
    let netns = record::Netns {
        keepalive_time: 7200 * HZ,
        keepalive_intvl: 75 * HZ,
        fin_timeout: 60 * HZ,
        retries2: 15,
        syn_retries: 6,
        synack_retries: 5,
        syn_linear_timeouts: 4,
        keepalive_probes: 9,
        ..Default::default()
    };
    Tcp { raw, netns, totals: record::Totals::default() }
}

fn look(tcp: &Tcp, state: TcpState, moment: Moment) -> Outlook {
    outlook(&facts(tcp, state, moment))
}

fn facts(tcp: &Tcp, state: TcpState, moment: Moment) -> Facts<'_> {
    Facts { time: NOW, hz: HZ, state, moment, era: Era::default(), lrcvtime: None, tcp }
}

/// Seconds from now to the earliest and the latest instant of death.
fn dies(outlook: &Outlook) -> (f64, f64) {
    let death = outlook.death.expect("it dies");
    let seconds = |at: u64| (at as f64 - NOW as f64) / 1e9;
    (seconds(death.earliest), seconds(death.latest))
}

fn assert_dies(outlook: &Outlook, rule: Rule, from: f64, to: f64) {
    let (earliest, latest) = dies(outlook);
    assert_eq!(outlook.rule, rule);
    assert!(from <= latest && earliest <= to, "{earliest}..{latest} is not within {from}..{to}");
    assert!(earliest > from - 0.02, "{earliest} is before {from}");
}

#[test]
fn at_a_timeout_the_rto_is_about_to_double() {
    let mut tcp = established(JIFFIES);
    tcp.netns.retries2 = 5;
    (tcp.raw.retransmits, tcp.raw.pending) = (1, 0);
    let outlook = look(&tcp, TcpState::Established, Moment::Timeout);
    assert_eq!((outlook.timer, outlook.stage, outlook.runs_left), (Timer::Retransmit, 1, 5));
    assert_eq!(outlook.rto.as_millis(), 408);
    assert_eq!(outlook.next_rto.map(|rto| rto.as_millis()), Some(816));
    // R(2^k - 2) from the first retransmission with k = 6, and up to an eighth more.
    assert_dies(&outlook, Rule::TcpRetries2, 12.6, 12.648 * 1.125);
}

#[test]
fn at_rest_the_armed_timer_is_taken_as_it_is() {
    let mut tcp = established(JIFFIES);
    tcp.raw.timer_expires = JIFFIES + 20;
    let fires = look(&tcp, TcpState::Established, Moment::Rest).fires.expect("armed");
    assert_eq!(fires.earliest as i64 - NOW as i64, 20 * TICK);
    assert_eq!(fires.latest as i64 - NOW as i64, 21 * TICK + SOFTIRQ_LATENESS);
}

/// The kernel run step by step at one phase and lateness: every prediction on the way must hold.
fn run_down(retries2: u8, rto: u32, user_timeout: u32, jiffies: u64, late: i64) {
    let tick = |ns: i64| jiffies + (ns / TICK) as u64;
    let mut tcp = established(jiffies);
    (tcp.netns.retries2, tcp.raw.rto, tcp.raw.user_timeout) = (retries2, rto, user_timeout);
    let mut predictions = vec![];
    let (mut now, mut stamp) = (0, 0);
    let mut expires = jiffies + u64::from(rto);
    for n in 1.. {
        let delta = expires - tick(now);
        let level =
            [63, 504, 4032, 32_256].iter().filter(|&&start| delta - u64::from(n > 1) >= start).count();
        let granularity = 1 << (3 * level);
        now = ((expires / granularity + 1) * granularity - jiffies) as i64 * TICK + late;
        let ms = (NOW as i64 + now) / MILLISECOND;
        let timeout = match user_timeout {
            0 => super::super::policy::model_timeout(retries2.into(), 200, 120_000) as i64,
            timeout => i64::from(timeout),
        };
        if n > 1 && ms - stamp >= timeout {
            break;
        }
        (tcp.raw.jiffies, tcp.raw.retransmits) = (tick(now), n);
        let outlook = outlook(&Facts {
            time: (NOW as i64 + now) as u64,
            ..facts(&tcp, TcpState::Established, Moment::Timeout)
        });
        predictions.push((n, outlook));
        stamp = if n == 1 { ms } else { stamp };
        tcp.raw.retrans_stamp = stamp as u32;
        tcp.raw.rto = (tcp.raw.rto * 2).min(120 * HZ);
        let left = (timeout - (ms - stamp)).max(0) as u64;
        let when = u64::from(tcp.raw.rto);
        let clamped = if user_timeout == 0 { when } else { when.min((left * 250).div_ceil(1000)).max(1) };
        expires = tick(now) + clamped;
    }
    for (n, outlook) in predictions {
        let death = outlook.death.expect("it dies");
        let error = death.error((NOW as i64 + now) as u64);
        assert_eq!(
            error, 0,
            "N={retries2} R={rto} UT={user_timeout} at {jiffies}+{late}, step {n}: {death:?}"
        );
    }
}

#[test]
fn every_prediction_on_the_way_holds() {
    for (retries2, rto) in
        [(0, 51), (3, 51), (3, 53), (3, 54), (5, 51), (6, 76), (8, 250), (15, 51), (15, 300)]
    {
        for alignment in [0, 1, 7, 8, 63, 300, 511, 1000, 4095] {
            for late in [0, MILLISECOND / 10, 2 * MILLISECOND, 6 * MILLISECOND] {
                run_down(retries2, rto, 0, JIFFIES + alignment, late);
                run_down(retries2, rto, 2500, JIFFIES + alignment, late);
            }
        }
    }
}

/// The last interval is at most 12.8 s long: the wheel's buckets are 256 ms there.
#[test]
fn the_interval_is_no_wider_than_the_wheels_rounding() {
    let read = TICK + SOFTIRQ_LATENESS;
    for (rto, most) in [(RTO, 0), (60, 256), (75, 256), (100, 256)] {
        for alignment in 0..4096 {
            let mut tcp = established(JIFFIES + alignment);
            (tcp.raw.rto, tcp.raw.retransmits, tcp.netns.retries2) = (rto, 1, 5);
            let death = look(&tcp, TcpState::Established, Moment::Timeout).death.expect("it dies");
            assert!(death.width() as i64 <= read + most * MILLISECOND, "R={rto} at {alignment}: {death:?}");
        }
    }
}

#[test]
fn microsecond_stamps_are_forgiven_a_jiffy() {
    let mut tcp = established(JIFFIES);
    (tcp.raw.retransmits, tcp.raw.rto, tcp.raw.pending) = (3, 408, 1);
    (tcp.raw.usec_ts, tcp.netns.retries2) = (1, 3);
    // The timer fires in 2.999 s after the stamp: T(3) is 3 s.
    tcp.raw.timer_expires = JIFFIES + 407;
    let fires = look(&tcp, TcpState::Established, Moment::Rest).fires.expect("armed");
    let elapsed_by_now = 3_000_000_000 - (fires.earliest - NOW) - 3_500_000;
    tcp.raw.retrans_stamp = ((NOW - elapsed_by_now) / 1000) as u32;
    let usec = look(&tcp, TcpState::Established, Moment::Rest);
    tcp.raw.retrans_stamp = ((NOW - elapsed_by_now) / 1_000_000) as u32;
    tcp.raw.usec_ts = 0;
    let msec = look(&tcp, TcpState::Established, Moment::Rest);
    assert_eq!((usec.runs_left, dies(&usec).0), (1, (fires.earliest - NOW) as f64 / 1e9));
    assert_eq!(msec.runs_left, 2);
}

#[test]
fn thin_streams_wait_the_same_six_times() {
    let mut tcp = established(JIFFIES);
    (tcp.raw.retransmits, tcp.raw.rto, tcp.netns.thin_linear_timeouts) = (1, 408, 1);
    let thin = look(&tcp, TcpState::Established, Moment::Timeout);
    assert_eq!((thin.rto.as_millis(), thin.next_rto.map(|rto| rto.as_millis())), (204, Some(204)));
    let last_linear = Tcp { raw: record::Tcp { retransmits: 6, rto: RTO, ..tcp.raw }, ..tcp };
    let last_linear = look(&last_linear, TcpState::Established, Moment::Timeout);
    assert_eq!(last_linear.next_rto.map(|rto| rto.as_millis()), Some(408));
    tcp.raw.packets_out = 4;
    assert_eq!(look(&tcp, TcpState::Established, Moment::Timeout).rto.as_millis(), 3264);
    tcp.raw.packets_out = 3;
    assert_eq!(look(&tcp, TcpState::CloseWait, Moment::Timeout).rto.as_millis(), 3264);
}

#[test]
fn a_local_drop_and_a_tail_loss_probe_do_not_back_off() {
    let mut tcp = established(JIFFIES);
    tcp.raw.retransmits = 2;
    let drop = look(&tcp, TcpState::Established, Moment::LocalDrop);
    let fires = drop.fires.expect("armed").earliest - NOW;
    assert!(fires >= 500_000_000 - TICK as u64 && drop.rto.as_millis() == 204);
    tcp.raw.retransmits = 0;
    let probe = look(&tcp, TcpState::Established, Moment::LossProbe);
    assert_eq!((probe.stage, probe.rto.as_millis()), (0, 204));
    assert_dies(&probe, Rule::TcpRetries2, 0.204 + 924.6, 928.7 * 1.125);
}

#[test]
fn old_kernels_have_no_rto_max_and_no_linear_syns() {
    let mut tcp = established(JIFFIES);
    (tcp.raw.rto_max, tcp.netns.syn_linear_timeouts) = (ABSENT32, ABSENT8);
    (tcp.raw.rto, tcp.raw.retrans_stamp) = (HZ, (NOW / 1_000_000) as u32);
    tcp.raw.timer_expires = JIFFIES + u64::from(HZ);
    assert_dies(&look(&tcp, TcpState::SynSent, Moment::Rest), Rule::TcpSynRetries, 127.0, 127.0 * 1.125);
    tcp.netns.syn_linear_timeouts = 4;
    assert_dies(&look(&tcp, TcpState::SynSent, Moment::Rest), Rule::TcpSynRetries, 131.0, 131.0 * 1.125);
    tcp.raw.syn_retries = 2;
    let syncnt = look(&tcp, TcpState::SynSent, Moment::Rest);
    assert_dies(&syncnt, Rule::TcpSynRetries, 7.0, 7.0 * 1.125);
}

fn shut(probes_out: u8, backoff: u8) -> Tcp {
    let mut tcp = established(JIFFIES);
    (tcp.raw.packets_out, tcp.raw.snd_wnd, tcp.raw.pending) = (0, 0, 3);
    (tcp.raw.probes_out, tcp.raw.backoff, tcp.raw.write_seq) = (probes_out, backoff, 100);
    tcp.raw.timer_expires = JIFFIES + (u64::from(RTO) << backoff);
    tcp
}

#[test]
fn zero_window_probes_end_only_if_nobody_answers() {
    let silent = look(&shut(0, 0), TcpState::Established, Moment::Rest);
    assert_eq!((silent.timer, silent.runs_left), (Timer::Probe0, 16));
    assert_dies(&silent, Rule::ZeroWindowProbes, 924.6, 928.7 * 1.125);
    let answered = look(&shut(0, 3), TcpState::Established, Moment::Rest);
    assert_eq!((answered.timer, answered.rule, answered.death), (Timer::Probe0, Rule::None, None));
    assert!(answered.fires.is_some());
}

#[test]
fn a_user_timeout_ends_probing_answered_or_not() {
    for probes_out in [0, 3] {
        let mut tcp = shut(probes_out, 3);
        tcp.raw.user_timeout = 5000;
        tcp.raw.probes_tstamp = (JIFFIES - 500) as u32;
        assert_dies(&look(&tcp, TcpState::Established, Moment::Rest), Rule::TcpUserTimeout, 3.0, 3.4);
    }
}

#[test]
fn closed_sockets_do_not_probe_for_ever() {
    let mut tcp = shut(0, 3);
    tcp.raw.sock_flags = 1;
    let outlook = look(&tcp, TcpState::FinWait1, Moment::Rest);
    // Answered all along: ends when the interval has reached rto_max, backoff 10.
    assert_dies(&outlook, Rule::TcpOrphanRetries, 204.0, 420.0);
    tcp.raw.probes_out = 3;
    tcp.netns.orphan_retries = 4;
    assert_dies(&look(&tcp, TcpState::FinWait1, Moment::Rest), Rule::TcpOrphanRetries, 4.8, 4.9 * 1.125);
}

#[test]
fn a_shrunk_window_ends_after_twice_rto_max_of_silence() {
    let mut tcp = established(JIFFIES);
    (tcp.raw.snd_wnd, tcp.raw.rto_max) = (0, 10 * HZ);
    let outlook = look(&tcp, TcpState::Established, Moment::Rest);
    assert_eq!(outlook.timer, Timer::ShrunkWindow);
    assert_dies(&outlook, Rule::ZeroWindowProbes, 20.0, 34.0);
    tcp.raw.retrans_stamp = (NOW / 1_000_000 - 400) as u32;
    tcp.raw.rcv_tstamp = JIFFIES as u32 - 5;
    (tcp.raw.rto, tcp.raw.timer_expires) = (102, JIFFIES + 50);
    assert_eq!(look(&tcp, TcpState::Established, Moment::Rest).rule, Rule::None);
    tcp.raw.user_timeout = 3000;
    assert_dies(&look(&tcp, TcpState::Established, Moment::Rest), Rule::TcpUserTimeout, 2.6, 2.9);
}

fn idle(probes_out: u8) -> Tcp {
    let mut tcp = established(JIFFIES);
    (tcp.raw.packets_out, tcp.raw.pending, tcp.raw.sock_flags) = (0, 0, 1 << 3);
    (tcp.raw.keepalive_time, tcp.raw.keepalive_intvl, tcp.raw.keepalive_probes) = (HZ, HZ, 2);
    (tcp.raw.probes_out, tcp.raw.keepalive_expires) = (probes_out, JIFFIES + u64::from(HZ));
    tcp
}

#[test]
fn keepalive_counts_probes_unless_a_user_timeout_is_set() {
    let state = TcpState::Established;
    assert_dies(&look(&idle(0), state, Moment::Rest), Rule::Keepalive, 3.0, 3.0 * 1.125);
    assert_dies(&look(&idle(1), state, Moment::Rest), Rule::Keepalive, 2.0, 2.0 * 1.125);
    let mut tcp = idle(0);
    tcp.raw.user_timeout = 1500;
    assert_dies(&look(&tcp, state, Moment::Rest), Rule::TcpUserTimeout, 2.0, 2.0 * 1.125);
    let later = Facts { lrcvtime: Some(JIFFIES as u32 + 100), ..facts(&tcp, state, Moment::Rest) };
    assert_dies(&outlook(&later), Rule::TcpUserTimeout, 2.4, 2.4 * 1.125);
}

#[test]
fn what_has_no_timer_waits_for_ever() {
    let mut tcp = idle(0);
    tcp.raw.sock_flags = 0;
    assert_eq!(look(&tcp, TcpState::Established, Moment::Rest), Outlook::NEVER);
    assert_eq!(look(&tcp, TcpState::Listen, Moment::Rest), Outlook::NEVER);
    tcp.raw.sock_flags = 1;
    let closed = look(&tcp, TcpState::FinWait2, Moment::Rest);
    assert_dies(&closed, Rule::TcpFinTimeout, 1.0, 1.125);
}

#[test]
fn a_crowded_listener_may_give_up_sooner() {
    let tcp = established(JIFFIES);
    let listener = facts(&tcp, TcpState::Listen, Moment::Timeout);
    let request = Request { timeouts: 0, syn_queue: 1, backlog: 128, duplicate_syn: false };
    assert_dies(&request_outlook(&listener, &request), Rule::TcpSynackRetries, 62.0, 62.0 * 1.125);
    let repeated = Request { duplicate_syn: true, ..request };
    assert_dies(&request_outlook(&listener, &repeated), Rule::TcpSynackRetries, 63.0, 63.0 * 1.125);
    let crowded = Request { syn_queue: 100, ..request };
    let (earliest, latest) = dies(&request_outlook(&listener, &crowded));
    assert!(earliest < 6.0 * 1.125 && latest > 62.0);
}
