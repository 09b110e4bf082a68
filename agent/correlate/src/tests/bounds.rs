use std::time::Duration;

use agent_model::limits::{FIRST_ENTRIES, LAST_ENTRIES};
use proptest::prelude::*;

use super::*;

const SMALL: Limits = Limits { connections: 4, history: 3, history_age: Duration::from_mins(1) };

/// Any record that decodes, over few sockets and ports, so that they meet.
fn any_record() -> impl Strategy<Value = RecordBytes> {
    let what = (1_u16..signal::END, 0_u64..8, 0_u64..4, any::<u32>(), 0_u16..16, 1_u8..13, 1_u32..13);
    let facts =
        (any::<[u8; 32]>(), 0_u8..4, 0_u32..8, 0_u32..5, prop_oneof![0..100 * SECOND, Just(u64::MAX)]);
    (what, facts).prop_map(
        |((signal, sk, cookie, flow, flags, old, new), (detail, retransmits, pid, how, time))| {
            let ends = [["10.0.0.1:1", "10.0.0.2:2"], ["10.0.0.2:2", "10.0.0.1:1"], ["[::]:1", "[::]:0"]];
            let [local, remote] = ends[flow as usize % 3];
            let plain = matches!(signal, signal::SYNACK_RETRANSMIT | signal::RCVQUEUE_FULL) || flow & 64 != 0;
            let plain = plain && signal != signal::SOCK_HELD;
            let mut record =
                if plain { RecordBytes::plain(signal, time) } else { RecordBytes::tcp(signal, time) };
            record.put(std::mem::offset_of!(agent_common::record::Record, detail), &detail);
            record = record.socket(sk, cookie).ends(local, remote).state(old).flags(flags & !1);
            record = record.current(pid, "current").owner(pid, "owner", how);
            match signal {
                signal::RETRANSMIT => record = record.retransmit(flow as u16 % retransmit::END),
                signal::STATE_CHANGED => record = record.change(old, new as u8),
                signal::BUF_LIMIT_EXCEEDED => {
                    put!(record, record.detail.buf_limit_exceeded.direction, flow & 1);
                }
                _ => (),
            }
            if !plain {
                put!(record, tcp.retransmits, retransmits);
                put!(record, tcp.rto, flow);
                put!(record, totals.resets_sent, flow);
            }
            record
        },
    )
}

fn any_frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        9 => any_record().prop_map(|record| record.frame()),
        1 => (0..100 * SECOND).prop_map(|time| Frame::fact(Fact::WalkDone { time })),
        1 => (any::<i32>()).prop_map(|id| Frame::fact(Fact::Stack { id, frames: Vec::new() })),
        1 => any::<i64>().prop_map(|offset| Frame::fact(Fact::Clock { offset })),
    ]
}

proptest! {
    #[test]
    fn no_sequence_panics_or_grows_past_the_bounds(frames in prop::collection::vec(any_frame(), 0..400)) {
        let mut bench = Bench::with(SMALL);
        for frame in frames {
            bench.apply(&frame);
            let correlator = &bench.0;
            let sizes = correlator.sizes();
            // Not so the history: it waits 50 ms of the events' clock, which jumps here, for a verdict.
            prop_assert!(sizes.connections <= SMALL.connections);
            prop_assert_eq!(sizes.connections + sizes.history, correlator.connections().count());
            prop_assert!(sizes.listeners <= 8);
            let entries: usize = correlator.connections().map(|one| one.timeline.len()).sum();
            prop_assert_eq!(sizes.entries, entries);
            prop_assert!(correlator.connections().all(|one| one.timeline.len() <= FIRST_ENTRIES + LAST_ENTRIES));
            correlator.wants_walk(u64::MAX);
        }
    }
}

#[test]
fn a_timeline_keeps_its_beginning_and_its_end() {
    let mut bench = Bench::new();
    for stage in 1..=100 {
        bench.push(&timeout(u64::from(stage) * SECOND, stage, 51));
    }
    let timeline = &bench.only().timeline;
    assert_eq!((timeline.len(), timeline.dropped()), (30, 70));
    let times: Vec<_> = timeline.entries().iter().map(|entry| entry.time / SECOND).collect();
    assert_eq!((times[2], times[3], times[29]), (3, 74, 100));
}

#[test]
fn the_idle_are_forgotten_first() {
    let mut bench = Bench::with(SMALL);
    for cookie in 1..=5 {
        bench.push(&timeout(cookie * 2 * SECOND, 1, 51).socket(cookie, cookie));
        bench.push(&timeout(cookie * 2 * SECOND, 2, 51).socket(1, 1));
    }
    let mut ids: Vec<_> = bench.0.connections().map(|one| one.id.0).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 3, 4, 5]);
    assert_eq!(bench.0.evicted().connections, 1);
}

#[test]
fn history_is_bounded_by_count_and_age() {
    let mut bench = Bench::with(SMALL);
    for cookie in 1..=5 {
        bench.push(&timeout(cookie * SECOND, 1, 51).socket(cookie, cookie));
        bench.push(&record(signal::RESET_RECEIVED, cookie * SECOND).socket(cookie, cookie));
    }
    assert_eq!(bench.0.sizes().history, 3);
    assert_eq!(bench.0.evicted().history, 2);
    bench.fact(&Fact::WalkDone { time: 66 * SECOND });
    assert_eq!(bench.0.sizes().history, 0);
    assert_eq!(bench.0.sizes().entries, 0);
    assert_eq!(bench.0.evicted().history, 2, "age is not want of space");
}
