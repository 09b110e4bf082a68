use std::collections::BTreeMap;

use agent_common::record::{EXITING, OOM_VICTIM, OWNED, Record, TcpRecord};
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::event::{Fact, HostFacts, RetransmitKind};
use crate::fixture::{RecordBytes, put};
use crate::signals::{RcvqueueFull, ResetSent, Retransmit};

fn kernel_event(record: &RecordBytes) -> KernelEvent {
    match decode(&record.frame()) {
        Ok(Event::Kernel(event)) => *event,
        other => panic!("{other:?}"),
    }
}

fn reason(record: &RecordBytes) -> &'static str {
    decode(&record.frame()).unwrap_err().reason()
}

fn retransmit_record() -> RecordBytes {
    RecordBytes::tcp(signal::RETRANSMIT, 5).retransmit(agent_common::retransmit::TIMEOUT)
}

#[test]
fn a_retransmission() {
    let mut record =
        retransmit_record().socket(0xffff_8880_0000_1000, 42).ends("10.0.0.1:5000", "10.0.0.2:80");
    put!(record, record.detail.retransmit.err, (-16_i32));
    put!(record, tcp.retransmits, 3_u8);
    put!(record, totals.segments, 9_u32);
    let event = kernel_event(&record);
    assert_eq!((event.time, event.stands_for), (5, 1));
    assert_eq!(event.endpoint.local, "10.0.0.1:5000".parse().unwrap());
    assert_eq!(event.endpoint.remote, "10.0.0.2:80".parse().unwrap());
    assert_eq!((event.endpoint.sk, event.endpoint.cookie), (Some(0xffff_8880_0000_1000), Some(42)));
    assert_eq!((event.endpoint.cgroup, event.endpoint.uid), (None, None));
    assert_eq!(event.endpoint.state, Some(TcpState::Established));
    let tcp = event.tcp.unwrap();
    assert_eq!((tcp.raw.retransmits, tcp.totals.segments[0]), (3, 9));
    let Detail::Retransmit(Retransmit { kind, err, segments, .. }) = event.detail else { panic!() };
    assert_eq!((kind, err, segments), (RetransmitKind::Timeout, -16, 1));
}

#[test]
fn current_counts_only_with_the_lock() {
    let record = retransmit_record().current(7, "curl");
    assert_eq!(kernel_event(&record).current, None);
    let thread = kernel_event(&record.flags(OWNED)).current.unwrap();
    assert_eq!((thread.process.pid, thread.tid, &*thread.process.comm), (7, 7, "curl"));
}

#[test]
fn an_owner_and_how_it_was_learnt() {
    let event = kernel_event(&retransmit_record().owner(9, "nginx", owner::CONNECT));
    let Owner { process, source } = event.owner.unwrap();
    assert_eq!((process.pid, &*process.comm, source), (9, "nginx", OwnerSource::Connect));
}

#[test]
fn mapped_addresses_are_ipv4() {
    let event = kernel_event(&retransmit_record().ends("[::ffff:10.0.0.1]:1", "[::ffff:10.0.0.2]:2"));
    assert_eq!(event.endpoint.remote, "10.0.0.2:2".parse().unwrap());
    assert!(event.endpoint.mapped);
    let event = kernel_event(&retransmit_record().ends("[2001:db8::1]:1", "[2001:db8::2]:2"));
    assert_eq!(event.endpoint.remote, "[2001:db8::2]:2".parse().unwrap());
    assert!(!event.endpoint.mapped);
}

#[test]
fn names_become_text() {
    let mut record = retransmit_record().current(7, "x").flags(OWNED);
    record.put(offset_of!(TcpRecord, record.current.comm), &[0xff; 16]);
    let comm = kernel_event(&record).current.unwrap().process.comm;
    assert_eq!(comm.chars().count(), 16);
}

#[test]
fn a_reset_without_socket_or_reason() {
    let record = RecordBytes::plain(signal::RESET_SENT, 1).reset_without_reason(false);
    let Detail::ResetSent(ResetSent { reason, stack, trigger, exit }) = kernel_event(&record).detail else {
        panic!()
    };
    assert_eq!((reason, stack, trigger.is_some(), exit), (None, None, true, None));
    let event = kernel_event(&record.flags(TIME_WAIT).state(6));
    assert!(event.endpoint.time_wait && event.tcp.is_none() && event.endpoint.sk.is_none());
}

#[test]
fn a_process_that_ends_is_believed_of_its_own_socket_only() {
    let exit = |record: &RecordBytes| {
        let Detail::ResetSent(ResetSent { exit, .. }) = kernel_event(record).detail else { panic!() };
        exit
    };
    let ending = |bits: u32| {
        let mut record = RecordBytes::plain(signal::RESET_SENT, 1).reset_without_reason(true);
        put!(record, record.detail.reset_sent.exit, bits);
        record
    };
    assert_eq!(exit(&ending(0).flags(OWNED)), None);
    assert_eq!(exit(&ending(EXITING | 9)), None);
    let killed = exit(&ending(EXITING | OOM_VICTIM | 9).flags(OWNED)).unwrap();
    assert_eq!((killed.signal(), killed.status(), killed.oom), (Some(9), None, true));
    let ended = exit(&ending(EXITING | 3 << 8).flags(OWNED)).unwrap();
    assert_eq!((ended.signal(), ended.status(), ended.oom), (None, Some(3), false));
}

#[test]
fn a_queue_of_another_family() {
    let mut record = RecordBytes::plain(signal::RCVQUEUE_FULL, 1);
    put!(record, record.endpoint.family, 17_u16);
    put!(record, record.endpoint.state, 99_u8);
    put!(record, record.detail.rcvqueue_full.rcvbuf, 4096_u32);
    let event = kernel_event(&record);
    assert_eq!((event.endpoint.state, event.endpoint.local.port()), (None, 0));
    assert!(matches!(event.detail, Detail::RcvqueueFull(RcvqueueFull { rcvbuf: 4096, .. })));
}

#[test]
fn what_nobody_may_write_is_refused() {
    let mut kind = retransmit_record();
    put!(kind, record.detail.retransmit.kind, 8_u16);
    let mut family = retransmit_record();
    put!(family, record.endpoint.family, 1_u16);
    let mut direction = RecordBytes::plain(signal::BUF_LIMIT_EXCEEDED, 1);
    put!(direction, record.detail.buf_limit_exceeded.direction, 2_u32);
    assert_eq!(reason(&kind), "kind");
    assert_eq!(reason(&family), "family");
    assert_eq!(reason(&direction), "direction");
    assert_eq!(reason(&retransmit_record().state(13)), "state");
    assert_eq!(reason(&retransmit_record().owner(1, "x", 5)), "owner");
    assert_eq!(reason(&RecordBytes::tcp(99, 1)), "signal");
    assert_eq!(reason(&RecordBytes::plain(signal::SOCK_HELD, 1)), "no_tcp");
    assert_eq!(reason(&RecordBytes::tcp(signal::STATE_CHANGED, 1).change(1, 0)), "state");
}

#[test]
fn only_whole_records() {
    let Frame::Record(whole) = retransmit_record().frame() else { panic!() };
    for length in 0..whole.len() {
        let error = decode(&Frame::Record(whole.slice(..length))).unwrap_err();
        assert_eq!(error.reason(), "size", "{length}");
    }
    let longer = Bytes::from([&whole[..], &[0]].concat());
    assert_eq!(decode(&Frame::Record(longer)).unwrap_err().reason(), "size");
}

#[test]
fn facts_survive_their_encoding() {
    let reset_reasons = BTreeMap::from([(1, "NO_SOCKET".into()), (11, "TCP_ABORT_ON_CLOSE".into())]);
    let host =
        HostFacts { hz: 250, release: "6.12".into(), reset_reasons, page_size: 4096, ..HostFacts::default() };
    let facts = [
        Fact::Host(host),
        Fact::Clock { offset: -3 },
        Fact::Stack { id: 4, frames: vec!["tcp_close".into()] },
        Fact::WalkDone { time: 9 },
        Fact::Lost { signal: "reset_sent".into(), count: 2 },
    ];
    for fact in facts {
        let recorded = Bytes::from(Frame::fact(fact.clone()).recorded().into_owned());
        assert_eq!(Frame::from_json(recorded.clone()), Frame::fact(fact.clone()));
        let decoded = decode(&Frame::from_json(recorded));
        assert!(matches!(&decoded, Ok(Event::Fact(same)) if *same == fact), "{decoded:?}");
    }
    let error = decode(&Frame::from_json(Bytes::from_static(b"{\"host\":"))).unwrap_err();
    assert_eq!(error.reason(), "fact");
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = decode(&Frame::Record(bytes.clone().into()));
        let _ = decode(&Frame::from_json(bytes.into()));
    }

    #[test]
    fn no_record_panics(
        mut bytes in proptest::collection::vec(any::<u8>(), size_of::<TcpRecord>()),
        signal in 0..=signal::END,
        flags in 0_u16..16,
        state in 0_u8..15,
        offset in 0_usize..8,
    ) {
        bytes[offset_of!(Record, header.signal)..][..2].copy_from_slice(&signal.to_ne_bytes());
        bytes[offset_of!(Record, header.flags)..][..2].copy_from_slice(&flags.to_ne_bytes());
        bytes[offset_of!(Record, endpoint.state)] = state;
        bytes[offset_of!(Record, endpoint.family)..][..2].copy_from_slice(&2_u16.to_ne_bytes());
        bytes[offset_of!(Record, owner.how)..][..4].copy_from_slice(&4_u32.to_ne_bytes());
        if flags & HAS_TCP == 0 {
            bytes.truncate(size_of::<Record>());
        }
        // Any alignment: a recording has none.
        let padded = Bytes::from([&[0; 8][..offset], &bytes].concat()).slice(offset..);
        let _ = decode(&Frame::Record(padded));
    }
}
