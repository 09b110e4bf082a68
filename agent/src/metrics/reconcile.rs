//! Compares the agent's counters with the kernel's own at every scrape: do the programs really see all?
//!
//! It compares only counters that must be equal whatever happens:
//!
//! - `OutRsts` and the resets sent, from 6.10 on: before, resets without a full socket pass no tracepoint. The
//!   kernel does not count a reset over IPv6 for which it finds no route, and does count one for which it has
//!   no memory.
//! - `RetransSegs` less `TCPRetransFail` and the segments sent again, those of SYN-ACKs included: the kernel
//!   adds to the first before it sends, to the second if that failed (`__tcp_retransmit_skb`, `tcp_rtx_synack`).
//!
//! `TCPTimeouts` and `TCPLossProbes` also count what sends nothing again, `EstabResets` and `AttemptFails` come
//! in ways that are no reset.

use agent_common::count::{Count, CountKey, FAILED};
use agent_common::signal;
use agent_model::counters::{Counters, HealthTable, Reading};
use agent_model::event::Snmp;

/// One comparison.
#[derive(Debug)]
struct Check {
    /// The kernel's name.
    counter: &'static str,
    kernels: fn(&Snmp) -> u64,
    ours: fn(&CountKey, &Count) -> u64,
    /// The signals that are counted.
    signals: &'static [u16],
}

const RESETS: Check = Check {
    counter: "OutRsts",
    kernels: |snmp| snmp.out_rsts,
    ours: |_, count| count.events,
    signals: &[signal::RESET_SENT],
};

const RESENDS: Check = Check {
    counter: "RetransSegs",
    kernels: |snmp| snmp.retrans_segs.saturating_sub(snmp.retrans_fail),
    ours: |key, count| if key.detail & FAILED == 0 { count.segments } else { 0 },
    signals: &[signal::RETRANSMIT, signal::SYNACK_RETRANSMIT],
};

impl Check {
    fn sum(&self, netns: u32, counts: &[(CountKey, Count)]) -> u64 {
        self.rows(netns, counts).map(|(key, count)| (self.ours)(key, count)).sum()
    }

    fn rows<'a>(
        &'a self,
        netns: u32,
        counts: &'a [(CountKey, Count)],
    ) -> impl Iterator<Item = &'a (CountKey, Count)> {
        counts.iter().filter(move |(key, _)| key.netns == netns && self.signals.contains(&key.signal))
    }

    /// A workload that did not fit the map is counted without its namespace.
    fn is_whole(&self, health: &HealthTable) -> bool {
        self.signals.iter().all(|signal| health[usize::from(*signal)].lost_count == 0)
    }
}

/// The agent's counters, read between two readings of the kernel's: nothing can be read at one instant.
#[derive(Clone, Debug)]
pub(super) struct Compared {
    kernels: Option<[Snmp; 2]>,
    /// The agent's.
    pub(super) counts: Vec<(CountKey, Count)>,
}

impl Compared {
    /// As they are now.
    pub(super) fn read(counters: &dyn Counters) -> Reading<Self> {
        let before = counters.snmp();
        let counts = counters.counts()?;
        Ok(Self { kernels: before.zip(counters.snmp()).map(|(before, after)| [before, after]), counts })
    }
}

/// Where both began.
#[derive(Clone, Copy, Debug)]
struct Start {
    check: &'static Check,
    netns: u32,
    /// What the kernel had at least and at most when `ours` was read.
    kernels: [u64; 2],
    /// What is no longer in the map included, so it may seem to lie below 0.
    ours: i64,
}

/// All comparisons since the start.
#[derive(Debug, Default)]
pub(super) struct Reconcile(Vec<Start>);

impl Reconcile {
    /// From now on. Where nothing can be read there is nothing to compare.
    pub(super) fn new(counters: &dyn Counters, tells_all_resets: bool) -> Self {
        let Ok(Compared { kernels: Some([before, after]), counts }) = Compared::read(counters) else {
            return Self::default();
        };
        let start = |check: &'static Check| Start {
            check,
            netns: before.netns,
            kernels: [(check.kernels)(&before), (check.kernels)(&after)],
            ours: check.sum(before.netns, &counts).cast_signed(),
        };
        let checks: &[&Check] = if tells_all_resets { &[&RESETS, &RESENDS] } else { &[&RESENDS] };
        Self(checks.iter().map(|check| start(check)).collect())
    }

    /// The kernel's growth less the agent's, by the kernel's name: 0 if there is an instant between the
    /// readings that explains it.
    pub(super) fn differences(&self, now: &Compared, health: &HealthTable) -> Vec<(&'static str, i64)> {
        let Compared { kernels: Some([before, after]), counts } = now else { return Vec::new() };
        let comparable = self.0.iter().filter(|start| start.check.is_whole(health));
        let difference = |start: &Start| {
            let Start { check, netns, kernels: [least, most], ours } = *start;
            let grown = check.sum(netns, counts).cast_signed() - ours;
            let low = (check.kernels)(before).cast_signed() - most.cast_signed() - grown;
            let high = (check.kernels)(after).cast_signed() - least.cast_signed() - grown;
            (check.counter, 0.clamp(low, high.max(low)))
        };
        comparable.map(difference).collect()
    }

    /// What is about to leave the map stays counted.
    pub(super) fn forget(&mut self, counts: &[(CountKey, Count)], gone: &[CountKey]) {
        for Start { check, netns, ours, .. } in &mut self.0 {
            let leaving = check.rows(*netns, counts).filter(|(key, _)| gone.contains(key));
            *ours -= leaving.map(|(key, count)| (check.ours)(key, count)).sum::<u64>().cast_signed();
        }
    }
}

#[cfg(test)]
mod tests {
    use agent_common::count::Health;

    use super::*;

    const NETNS: u32 = 7;
    const NOTHING_LOST: HealthTable =
        [Health { written: 0, lost_ring: 0, lost_read: 0, lost_socket: 0, lost_count: 0, coalesced: 0 };
            signal::END as usize];

    fn kernels(out_rsts: u64) -> Snmp {
        Snmp { netns: NETNS, out_rsts, retrans_segs: 0, retrans_fail: 0 }
    }

    fn count(netns: u32, signal: u16, detail: u16, number: u64) -> (CountKey, Count) {
        let key = CountKey { netns, signal, detail, ..CountKey::default() };
        (key, Count { events: number, segments: number, bytes: 0 })
    }

    fn resets(number: u64) -> (CountKey, Count) {
        count(NETNS, signal::RESET_SENT, 1, number)
    }

    /// Both have counted something before, and differently.
    fn started() -> Reconcile {
        let start = |check| Start { check, netns: NETNS, kernels: [1000, 1000], ours: 3 };
        Reconcile(vec![start(&RESETS)])
    }

    fn read(before: u64, after: u64, counts: &[(CountKey, Count)]) -> i64 {
        let now = Compared { kernels: Some([kernels(before), kernels(after)]), counts: counts.to_vec() };
        started().differences(&now, &NOTHING_LOST)[0].1
    }

    #[test]
    fn what_one_side_misses_is_the_difference() {
        assert_eq!(read(1010, 1010, &[resets(13)]), 0);
        assert_eq!(read(1010, 1010, &[resets(11)]), 2, "the programs did not see two");
        assert_eq!(read(1010, 1010, &[resets(14)]), -1);
        assert_eq!(read(1010, 1010, &[resets(13), count(8, signal::RESET_SENT, 1, 5)]), 0, "another's");
    }

    #[test]
    fn what_happens_between_the_readings_is_no_difference() {
        assert_eq!(read(1010, 1030, &[resets(20)]), 0);
        assert_eq!(read(1010, 1030, &[resets(11)]), 2, "at least");
        assert_eq!(read(1010, 1030, &[resets(35)]), -2);
    }

    #[test]
    fn failed_resends_count_on_neither_side() {
        let snmp = Snmp { netns: NETNS, out_rsts: 0, retrans_segs: 9, retrans_fail: 4 };
        let counts = [
            count(NETNS, signal::RETRANSMIT, 1, 3),
            count(NETNS, signal::RETRANSMIT, 1 | FAILED, 6),
            count(NETNS, signal::SYNACK_RETRANSMIT, 7, 2),
        ];
        assert_eq!(RESENDS.sum(NETNS, &counts), (RESENDS.kernels)(&snmp));
    }

    #[test]
    fn what_left_the_map_stays_counted() {
        let mut reconcile = started();
        let (gone, stays) = (resets(5), count(NETNS, signal::RESET_SENT, 2, 8));
        reconcile.forget(&[gone, stays], &[gone.0]);
        let now = Compared { kernels: Some([kernels(1010); 2]), counts: vec![stays] };
        assert_eq!(reconcile.differences(&now, &NOTHING_LOST), [("OutRsts", 0)]);
    }

    #[test]
    fn workloads_without_a_namespace_make_no_difference() {
        let mut health = NOTHING_LOST;
        health[usize::from(signal::RESET_SENT)].lost_count = 1;
        let now = Compared { kernels: Some([kernels(1010); 2]), counts: vec![resets(1)] };
        assert_eq!(started().differences(&now, &health), []);
    }
}
