use agent_model::event::{CgroupMemory, TcpMemory};

use super::*;
use crate::{Story, diagnose};

/// The diagnosis of the connection of one record, which lives on, after these facts about the host.
fn diagnosis_of(record: &RecordBytes, facts: &[Fact]) -> Option<Diagnosis> {
    diagnosis_in(Phase::Recovered, record, facts)
}

fn diagnosis_in(phase: Phase, record: &RecordBytes, facts: &[Fact]) -> Option<Diagnosis> {
    let mut bench = Bench::new();
    for fact in facts {
        bench.fact(fact);
    }
    bench.push(record);
    let correlator = bench.0.correlator();
    diagnose(&Story::of(correlator, correlator.last().unwrap(), phase))
}

fn of(record: &RecordBytes) -> Option<Diagnosis> {
    diagnosis_of(record, &[])
}

fn cause(record: &RecordBytes) -> Option<Cause> {
    of(record).map(|one| one.cause)
}

fn resent(kind: u16, segments: u32) -> RecordBytes {
    let mut record = record(signal::RETRANSMIT, SECOND).retransmit(kind);
    let at = std::mem::offset_of!(TcpRecord, totals.segments) + 4 * usize::from(kind);
    record.put(at, &segments.to_ne_bytes());
    put!(record, tcp.data_segs_out, 200_u32);
    record
}

#[test]
fn kinds_of_retransmission_tell_of_the_path() {
    assert_eq!(cause(&resent(retransmit::FAST, 10)), Some(Cause::LossyPath));
    assert_eq!(cause(&resent(retransmit::TAIL_LOSS_PROBE, 3)), Some(Cause::TailLoss));
    assert_eq!(cause(&resent(retransmit::REORDER, 3)), Some(Cause::Reordering));
    let mut spurious = resent(retransmit::TIMEOUT, 2);
    put!(spurious, tcp.dsack_dups, 2_u32);
    assert_eq!(cause(&spurious), Some(Cause::SpuriousRetransmit));
    says(&of(&resent(retransmit::FAST, 10)).unwrap(), "5.0 % of the data segments");
}

#[test]
fn buffers_that_are_full() {
    let mut receive = resent(retransmit::FAST, 1);
    put!(receive, tcp.rcv_nxt, 5000_u32);
    put!(receive, tcp.rmem_alloc, 131_073_u32);
    put!(receive, tcp.rcvbuf, 131_072_u32);
    assert_eq!(cause(&receive), Some(Cause::ReceiveBufferFull));
    let mut shut = resent(retransmit::FAST, 1);
    silent(&mut shut, 0);
    put!(shut, tcp.snd_wnd, 0_u32);
    assert_eq!(cause(&shut), Some(Cause::ZeroWindow));
    let mut send = resent(retransmit::FAST, 1);
    put!(send, tcp.wmem_queued, 90_000_u32);
    put!(send, tcp.sndbuf, 87_040_u32);
    let now = diagnosis_in(Phase::Stalled, &send, &[]).unwrap();
    assert_eq!(now.cause, Cause::SendBufferFull, "it is full, and one loss was some time ago");
    assert_eq!(cause(&send), Some(Cause::LossyPath), "it filled up during the stall that is over");
    let facts = TcpMemory { limits: [1000, 2000, 10_000], sockets: 100, ..TcpMemory::default() };
    put!(send, tcp.snd_cwnd, 10_u32);
    put!(send, tcp.mss, 1448_u32);
    put!(send, tcp.srtt_us, 800_000_u32);
    let diagnosis = diagnosis_in(Phase::Stalled, &send, &[Fact::TcpMemory(facts)]).unwrap();
    says(&diagnosis, "the window now is 14.1 KiB each 100ms");
    says(&diagnosis, "85.0 KiB for each of the host's 100 sockets are 8.3 MiB, 21 % of tcp_mem's high");
}

fn refused() -> RecordBytes {
    let mut record = record(signal::BUF_LIMIT_EXCEEDED, SECOND);
    put!(record, record.detail.buf_limit_exceeded.allocated, 5000_u32);
    put!(record, record.detail.buf_limit_exceeded.memory_cgroup, 4711_u64);
    put!(record, record.detail.buf_limit_exceeded.pressure, 1_u8);
    put!(record, tcp.rmem_alloc, 100_000_u32);
    put!(record, totals.buf_limit_exceeded, 4_u32);
    record
}

/// The window is shut and its probe not answered yet.
#[test]
fn refused_memory_is_reported_of_a_connection_that_waits_for_its_window() {
    let mut bench = Bench::new();
    let mut record = refused();
    put!(record, tcp.probes_out, 1_u8);
    put!(record, tcp.snd_una, 1000_u32);
    put!(record, tcp.snd_nxt, 1000_u32);
    put!(record, tcp.write_seq, 2000_u32);
    put!(record, tcp.snd_wnd, 0_u32);
    bench.push(&record);
    let diagnosis = bench.only();
    assert_eq!((diagnosis.cause, diagnosis.phase), (Cause::MemoryPressure, Phase::Stalled));
}

/// What was said under pressure does not hold once all of TCP is out of memory.
#[test]
fn refused_memory_is_reported_again_once_it_is_the_whole_hosts() {
    let mut bench = Bench::new();
    let limits = [1000, 4000, 8000];
    bench.fact(&Fact::TcpMemory(TcpMemory { pages: 5000, limits, sockets: 10_000, ..TcpMemory::default() }));
    let mut refuse = |pages: u32, time: u64| {
        let mut record = refused();
        put!(record, record.header.time, time * SECOND);
        put!(record, record.detail.buf_limit_exceeded.allocated, pages);
        bench.push(&record);
        bench.diagnoses().iter().map(|diagnosis| diagnosis.cause).collect::<Vec<_>>()
    };
    assert_eq!(refuse(5000, 1), [Cause::MemoryPressure]);
    assert_eq!(refuse(5001, 2), [], "it is known");
    assert_eq!(refuse(8001, 3), [Cause::OutOfTcpMemory]);
    assert_eq!(refuse(8002, 4), [], "it is known");
}

#[test]
fn refused_memory_is_no_more_certain_than_what_was_recorded() {
    let mut bench = Bench::new();
    bench.push(&refused());
    let diagnosis = bench.only();
    assert_eq!(
        (diagnosis.cause, diagnosis.evidence[1].certainty),
        (Cause::MemoryPressure, Certainty::Inferred)
    );
    says(&diagnosis, "4 refusals of memory to send, TCP had 5000 pages");
    for (limits, cause) in [
        ([1000, 2000, 4000], Cause::OutOfTcpMemory),
        ([6000, 7000, 8000], Cause::CgroupMemoryLimit),
        ([1000, 4000, 8000], Cause::MemoryPressure),
    ] {
        assert_eq!(refused_with(&refused(), limits, 10_000).cause, cause);
    }
}

fn refused_with(record: &RecordBytes, limits: [u64; 3], sockets: u64) -> Diagnosis {
    let memory = TcpMemory { pages: 5000, limits, sockets, ..TcpMemory::default() };
    diagnosis_of(record, &[Fact::TcpMemory(memory)]).unwrap()
}

#[test]
fn between_the_limits_it_is_the_host_only_under_pressure_and_beyond_ones_share() {
    let between = [1000, 4000, 8000];
    let mut calm = refused();
    put!(calm, record.detail.buf_limit_exceeded.pressure, 0_u8);
    let diagnosis = refused_with(&calm, between, 10_000);
    assert_eq!(
        (diagnosis.cause, diagnosis.evidence[1].certainty),
        (Cause::CgroupMemoryLimit, Certainty::Inferred)
    );
    assert_eq!(
        refused_with(&refused(), between, 10).cause,
        Cause::CgroupMemoryLimit,
        "25 pages are its share"
    );
    let mut free = refused();
    put!(free, record.detail.buf_limit_exceeded.memory_cgroup, 0_u64);
    let diagnosis = refused_with(&free, between, 10_000);
    assert_eq!(
        (diagnosis.cause, diagnosis.evidence[1].certainty),
        (Cause::MemoryPressure, Certainty::Observed)
    );
    says(&diagnosis, "19.5 MiB of 31.2 MiB (62 % of tcp_mem's high)");
    says(&diagnosis, "sysctl net.ipv4.tcp_mem='2000 8000 16000'");
}

#[test]
fn a_cgroups_limit_is_named_with_its_numbers() {
    let cgroup = CgroupMemory {
        cgroup: 4711,
        version: 2,
        path: "/pod".into(),
        socket: 3 << 20,
        used: 12 << 20,
        limit: Some(12 << 20),
        hits: 7,
        ..CgroupMemory::default()
    };
    let memory = TcpMemory { limits: [6000, 7000, 8000], ..TcpMemory::default() };
    let diagnosis = diagnosis_of(&refused(), &[Fact::TcpMemory(memory), Fact::CgroupMemory(cgroup)]).unwrap();
    assert_eq!(diagnosis.cause, Cause::CgroupMemoryLimit);
    says(
        &diagnosis,
        "sockets of the cgroup have 3.0 MiB; the limit of /pod is 12.0 MiB, 12.0 MiB of it used, hit 7 times",
    );
    says(&diagnosis, "raise memory.max of /pod, now 12582912");
}

fn dropped(listens: bool) -> RecordBytes {
    if !listens {
        let mut record = record(signal::PACKET_DROPPED, SECOND);
        put!(record, tcp.rcv_nxt, 5000_u32);
        put!(record, tcp.rmem_alloc, 131_000_u32);
        put!(record, tcp.rcvbuf, 131_072_u32);
        put!(record, totals.dropped, 3_u32);
        put!(record, netns.rmem, 6_291_456_u32);
        put!(record, record.detail.packet_dropped.reason, 20_u32);
        return record;
    }
    let mut record = RecordBytes::plain(signal::PACKET_DROPPED, SECOND).socket(0x1000, 0).state(LISTEN);
    put!(record, record.detail.packet_dropped.reason, 40_u32);
    put!(record, record.detail.packet_dropped.accept_queue, 129_u32);
    put!(record, record.detail.packet_dropped.backlog, 128_u32);
    record.ends(SERVER, CLIENT).flags(REQUEST).owner(100, "nginx", owner::LISTEN)
}

#[test]
fn a_dropped_segment_tells_of_a_reader_that_does_not_read() {
    let mut bench = Bench::new();
    bench.push(&dropped(false));
    let diagnosis = bench.only();
    assert_eq!((diagnosis.cause, diagnosis.phase), (Cause::ReceiveBufferFull, Phase::Stalled));
    says(&diagnosis, "3 segments of it dropped here, the last one for PROTO_MEM");
    says(&diagnosis, "autotuned up to tcp_rmem[2], 6291456 bytes");
}

#[test]
fn a_dropped_handshake_tells_of_a_full_accept_queue() {
    let mut bench = Bench::new();
    bench.push(&listen(128));
    bench.push(&dropped(true));
    let diagnosis = bench.only();
    assert_eq!((diagnosis.cause, diagnosis.phase), (Cause::AcceptQueueFull, Phase::Stalled));
    says(&diagnosis, "129 connections wait, its backlog is 128");
    says(
        &diagnosis,
        "listen() with 1024, and net.core.somaxconn at least as high; 1024 that wait take 2.0 MiB",
    );
}

fn synack(accept: u32, syn: u32) -> RecordBytes {
    let mut record = RecordBytes::plain(signal::SYNACK_RETRANSMIT, SECOND).socket(0x1000, 0).state(12);
    put!(record, record.detail.synack_retransmit.accept_queue, accept);
    put!(record, record.detail.synack_retransmit.syn_queue, syn);
    put!(record, record.detail.synack_retransmit.backlog, 128_u32);
    record.ends(SERVER, CLIENT).flags(REQUEST).owner(100, "nginx", owner::LISTEN)
}

#[test]
fn a_listener_that_overflows_is_not_refusing() {
    let mut bench = Bench::new();
    bench.push(&listen(128));
    bench.push(&synack(129, 1));
    let diagnosis = bench.only();
    assert_eq!(diagnosis.cause, Cause::AcceptQueueFull);
    says(&diagnosis, "nginx[100] does not accept fast enough: 129 connections wait, its backlog is 128");
    bench.push(&synack(3, 128));
    assert_eq!(bench.only().cause, Cause::SynQueueFull);
    bench.push(&synack(128, 3));
    assert_eq!(bench.diagnoses().len(), 0, "one lost SYN-ACK is nobody's fault");
}

/// `tcp_check_req` resets a handshake (INVALID_SYN) in answer to a segment with these flags.
fn reset_request(flags: u8) -> RecordBytes {
    let mut record = RecordBytes::plain(signal::RESET_SENT, SECOND).socket(0x1000, 0).state(12);
    record = record.reset(10, false).ends(SERVER, CLIENT).flags(REQUEST);
    put!(record, record.detail.reset_sent.trigger_flags, flags);
    record
}

#[test]
fn a_handshake_reset_at_its_last_ack_found_no_room() {
    let (syn, ack) = (2, 16);
    let mut bench = Bench::new();
    bench.push(&listen(128));
    bench.push(&reset_request(ack));
    let diagnosis = bench.only();
    assert_eq!((diagnosis.cause, diagnosis.phase), (Cause::AcceptQueueFull, Phase::Died));
    says(&diagnosis, "tcp_abort_on_overflow");
    let mut bench = Bench::new();
    bench.push(&listen(128));
    bench.push(&reset_request(syn | ack));
    assert!(bench.diagnoses().iter().all(|one| one.cause != Cause::AcceptQueueFull));
}

#[test]
fn a_healthy_connection_has_no_cause() {
    assert_eq!(cause(&record(signal::RESET_SENT, SECOND).reset(99, false)), None);
}
