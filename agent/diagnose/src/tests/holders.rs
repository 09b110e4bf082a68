//! Who has the memory that ran out.

use agent_model::event::{CgroupMemory, TcpMemory};

use super::*;

const MIB: u32 = 1 << 20;

/// A connection of a process, with its memory, charged to a cgroup.
fn held(number: u64, comm: &str, memory: u32, cgroup: u64) -> RecordBytes {
    let mut record = RecordBytes::tcp(signal::SOCK_HELD, SECOND).socket(0x7000 + number * 64, 700 + number);
    put!(record, tcp.rmem_alloc, memory);
    put!(record, record.detail.sock_held.memory_cgroup, cgroup);
    let pid = 200 + comm.bytes().map(u32::from).sum::<u32>();
    record.ends("192.0.2.9:9999", "198.51.100.1:1").held(pid, comm, 1, 4)
}

fn refused(allocated: u32, cgroup: u64) -> RecordBytes {
    let mut record = record(signal::BUF_LIMIT_EXCEEDED, 3 * SECOND);
    put!(record, record.detail.buf_limit_exceeded.allocated, allocated);
    put!(record, record.detail.buf_limit_exceeded.memory_cgroup, cgroup);
    put!(record, totals.buf_limit_exceeded, 1_u32);
    record
}

/// Five programs with 1 to 16 MiB; the largest has two connections.
fn bench(memory: TcpMemory) -> Bench {
    let mut bench = Bench::new();
    let programs = [("a", 16), ("b", 8), ("c", 4), ("d", 2), ("e", 1)];
    for (number, (comm, mib)) in (0..).zip(programs) {
        bench.push(&held(number, comm, mib * MIB, 1000 + number));
    }
    bench.push(&held(9, "a", 16 * MIB, 1000));
    bench.fact(&Fact::WalkDone { time: SECOND });
    bench.fact(&Fact::TcpMemory(memory));
    bench
}

#[test]
fn the_largest_holders_of_the_host_are_named_with_what_they_would_fill() {
    let memory =
        TcpMemory { pages: 20_480, limits: [4096, 8192, 16_384], orphans: 3, ..TcpMemory::default() };
    let mut bench = bench(memory);
    bench.push(&refused(20_481, 0));
    let diagnosis = bench.only();
    assert_eq!(diagnosis.cause, Cause::OutOfTcpMemory);
    says(
        &diagnosis,
        "most of TCP's memory on this host: a[297] 32.0 MiB in 2 sockets, b[298] 8.0 MiB in 1 socket, c[299] 4.0 \
         MiB in 1 socket, 2 others together 3.0 MiB (2s before)",
    );
    // 80 MiB less 47.
    says(&diagnosis, "about 33.0 MiB is no process's: 3 closed sockets that the kernel still serves");
    says(
        &diagnosis,
        "2 connections of a[297] at 16.0 MiB are 32.0 MiB, 50 % of tcp_mem's high, which 4 of them would fill",
    );
}

/// As an agent in a pod has it: the kernel shows `tcp_mem` in the host's own network namespace only.
#[test]
fn limits_that_are_not_known_are_not_passed() {
    let mut bench = bench(TcpMemory { pages: 20_480, orphans: 3, sockets: 9, ..TcpMemory::default() });
    bench.push(&refused(20_481, 0));
    let diagnosis = bench.only();
    assert_eq!(diagnosis.cause, Cause::MemoryPressure);
    says(&diagnosis, "the host's limits were not told");
    says(&diagnosis, "TCP has 80.0 MiB; 9 sockets, 8.9 MiB each");
    says(&diagnosis, "net.ipv4.tcp_mem: raise high where memory is free");
    assert!(!diagnosis.evidence.iter().any(|one| one.text.contains("above high")));
}

#[test]
fn of_a_cgroup_its_own_holders_are_named() {
    let memory = TcpMemory { pages: 100, limits: [4096, 8192, 16_384], ..TcpMemory::default() };
    let mut bench = bench(memory);
    bench.fact(&Fact::CgroupMemory(CgroupMemory {
        time: 2 * SECOND,
        cgroup: 1001,
        version: 2,
        path: "/b".into(),
        limit: Some(u64::from(16 * MIB)),
        ..CgroupMemory::default()
    }));
    bench.push(&refused(100, 1001));
    let diagnosis = bench.only();
    assert_eq!(diagnosis.cause, Cause::CgroupMemoryLimit);
    says(&diagnosis, "most of the cgroup's socket memory: b[298] 8.0 MiB in 1 socket (2s before)");
    says(
        &diagnosis,
        "1 connection of b[298] at 8.0 MiB are 8.0 MiB, 50 % of the cgroup's limit, which 2 of them would fill",
    );
    assert!(!diagnosis.evidence.iter().any(|one| one.text.contains("a[297]")), "{diagnosis:#?}");
}
