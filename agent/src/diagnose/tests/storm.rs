use std::time::{Duration, Instant};

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
    assert_eq!(bench.told().len(), 10_000);
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
        let causes = bench.told().len();
        prop_assert!(causes <= 2 * records.len());
        let pipeline = &bench.0;
        let live = pipeline.correlator().stalled().count() as u64;
        prop_assert!(pipeline.tracker().stats().stalled.iter().sum::<u64>() <= live.max(3));
        crate::export::why::report(pipeline.correlator(), pipeline.tracker(), &crate::export::why::Wanted::default());
    }
}
