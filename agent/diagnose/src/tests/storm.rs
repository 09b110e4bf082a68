use std::time::{Duration, Instant};

use agent_model::limits::Limits;
use proptest::prelude::*;

use super::*;

#[test]
fn ten_thousand_deaths_in_a_second_all_have_a_cause() {
    let mut bench = Bench::new();
    let start = Instant::now();
    for i in 0..10_000_u64 {
        let client = format!("10.1.{}.{}:5555", i / 250, i % 250 + 1);
        let mut record = reset(SECOND + i * 100_000, 11).socket(SK + i * 64, 1000 + i).ends(SERVER, &client);
        put!(record, tcp.rcv_nxt, 300_u32);
        bench.push(&record);
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(bench.deaths(Cause::ClosedWithUnreadData), 10_000);
    assert_eq!(bench.diagnoses().len(), 10_000);
}

/// Events that a record stands for, and those of which the daemon reports only the number.
#[test]
fn deaths_without_a_line_share_the_cause_of_the_sample() {
    let mut bench = Bench::new();
    let mut sample = reset(SECOND, 11);
    put!(sample, record.header.stands_for, 7_u32);
    put!(sample, tcp.rcv_nxt, 300_u32);
    bench.push(&sample);
    assert_eq!(bench.only().stands_for, 7);
    assert_eq!(bench.deaths(Cause::ClosedWithUnreadData), 7);
    let last = |detail| Fact::Coalesced {
        signal: "reset_sent".into(),
        detail,
        cgroup: 0,
        netns: 4_026_531_840,
        port: 80,
        count: 5,
    };
    bench.fact(&last(11));
    assert_eq!(bench.deaths(Cause::ClosedWithUnreadData), 12);
    bench.fact(&last(99));
    assert_eq!(bench.0.tracker().stats().deaths.iter().sum::<u64>(), 12, "nothing is known of those");
}

/// More die within the time that a received RST waits than the history keeps: each is judged all the same.
#[test]
fn a_short_history_loses_no_death() {
    let mut bench = Bench::new();
    let (connections, history_age) = (10, Duration::from_mins(1));
    bench.fact(&Fact::Limits(Limits { connections, history: 10, history_age }));
    for i in 0..1000_u64 {
        let received = record(signal::RESET_RECEIVED, SECOND + i * 10_000);
        bench.push(&received.socket(SK + i * 64, 1000 + i).ends(SERVER, &format!("10.0.0.2:{}", 5000 + i)));
    }
    assert_eq!(bench.diagnoses().len(), 1000);
    assert_eq!(bench.deaths(Cause::PeerReset), 1000);
    bench.push(&record(signal::RESET_RECEIVED, 2 * SECOND).socket(SK, 7));
    assert_eq!(bench.0.correlator().sizes().history, 10);
}

#[test]
fn every_cause_has_its_word() {
    for (cause, word) in Cause::ALL.iter().zip(Cause::WORDS) {
        assert_eq!(word.parse(), Ok(*cause));
        assert_eq!(serde_json::to_string(cause).unwrap(), format!("\"{word}\""));
    }
}

/// Any event of one of three sockets, with any numbers.
fn any_record() -> impl Strategy<Value = RecordBytes> {
    let numbers = prop::collection::vec(any::<u8>(), 272);
    let head = (1..10_u16, 0..3_u64, 0..13_u8, 0..13_u8, -1..20_i32, any::<bool>(), 0..100 * SECOND);
    (head, numbers, any::<u16>()).prop_map(
        |((signal, sk, old, new, reason, active, time), numbers, flags)| {
            let mut record = record(signal, time);
            record.put(std::mem::offset_of!(TcpRecord, tcp), &numbers);
            record = match signal {
                signal::RESET_SENT => record.reset(reason, active).state(old),
                signal::STATE_CHANGED => record.change(old.max(1), new.max(1)),
                signal::RETRANSMIT => record.retransmit(u16::from(new) % 8).state(old),
                _ => record.state(old),
            };
            let flags = flags & (OWNED | TIME_WAIT | REQUEST);
            record.socket(SK + sk * 64, 40 + sk).flags(flags).current(7, "x\u{1b}[31m")
        },
    )
}

proptest! {
    #[test]
    fn no_sequence_panics(records in prop::collection::vec(any_record(), 0..40), old in any::<bool>()) {
        let mut bench = if old { Bench::old() } else { Bench::new() };
        for record in &records {
            bench.push(record);
        }
        let causes = bench.diagnoses().len();
        prop_assert!(causes <= 2 * records.len());
        let judge = &bench.0;
        let live = judge.correlator().stalled().count() as u64;
        prop_assert!(judge.tracker().stats().stalled.iter().sum::<u64>() <= live.max(3));
    }
}
