use super::*;

/// 300 bytes unread, 14480 delivered, 1548 not.
fn unread(mut record: RecordBytes) -> RecordBytes {
    put!(record, tcp.copied_seq, 1000_u32);
    put!(record, tcp.rcv_nxt, 1300_u32);
    put!(record, tcp.bytes_acked, 14_480_u64);
    put!(record, tcp.snd_una, 1000_u32);
    put!(record, tcp.snd_nxt, 2448_u32);
    put!(record, tcp.write_seq, 2548_u32);
    record
}

#[test]
fn a_close_with_unread_data_names_who_closed_and_what_was_lost() {
    let mut bench = Bench::new();
    bench.push(&listen(128));
    bench.push(&unread(reset(SECOND, 11)));
    let diagnosis = bench.only();
    assert_eq!(
        (diagnosis.cause, diagnosis.phase, certainty(&diagnosis)),
        (Cause::ClosedWithUnreadData, Phase::Died, Certainty::Observed)
    );
    says(&diagnosis, "child[55] closed with 300 bytes unread");
    says(&diagnosis, "14480 bytes acknowledged by the peer, 1448 sent and not acknowledged, 100 never sent");
    says(&diagnosis, "10.0.0.1:80 of nginx[100]; another process");
    says(&diagnosis, "1548 bytes");
    assert!(diagnosis.advice[0].contains("shutdown(fd, SHUT_WR)"));
    assert_eq!(bench.deaths(Cause::ClosedWithUnreadData), 1);
}

#[test]
fn before_6_10_it_is_inferred() {
    let mut bench = Bench::old();
    bench.push(&unread(reset(SECOND, -1)));
    let diagnosis = bench.only();
    assert_eq!((diagnosis.cause, certainty(&diagnosis)), (Cause::ClosedWithUnreadData, Certainty::Inferred));
}

#[test]
fn a_state_change_before_the_reset_says_nothing_yet() {
    let mut bench = Bench::new();
    bench.push(&unread(closed(SECOND, ESTABLISHED, 0)));
    bench.push(&unread(reset(SECOND + 1, 11)));
    assert_eq!(bench.only().cause, Cause::ClosedWithUnreadData);
}

#[test]
fn the_stack_tells_resets_of_a_state_apart() {
    let ways: [(&[&str], Cause); 5] = [
        (&["tcp_send_active_reset", "tcp_disconnect", "__tcp_close", "tcp_close"], Cause::LingerAbort),
        (&["tcp_send_active_reset", "tcp_disconnect", "__inet_stream_connect"], Cause::Disconnect),
        (
            &["tcp_send_active_reset", "tcp_disconnect", "inet_csk_listen_stop", "__tcp_close"],
            Cause::ListenerClosed,
        ),
        (&["tcp_send_active_reset", "tcp_abort", "sock_diag_destroy"], Cause::Killed),
        (&["tcp_send_active_reset", "tcp_keepalive_timer"], Cause::OrphanTimeout),
    ];
    for (stack, cause) in ways {
        let mut bench = Bench::new();
        bench.stack(stack);
        bench.push(&reset(SECOND, 14));
        let diagnosis = bench.only();
        assert_eq!((diagnosis.cause, certainty(&diagnosis)), (cause, Certainty::Observed), "{stack:?}");
    }
}

#[test]
fn without_a_stack_flags_tell_and_are_not_certain() {
    let mut linger = reset(SECOND, 14);
    put!(linger, tcp.sock_flags, 1_u64 << 4);
    let mut queued = reset(SECOND, 14);
    put!(queued, tcp.has_socket, 0_u8);
    let disconnected = reset(SECOND, 14);
    for (record, cause) in
        [(linger, Cause::LingerAbort), (queued, Cause::ListenerClosed), (disconnected, Cause::Disconnect)]
    {
        let mut bench = Bench::new();
        bench.push(&record);
        let diagnosis = bench.only();
        assert_eq!((diagnosis.cause, certainty(&diagnosis)), (cause, Certainty::Inferred));
    }
}

#[test]
fn a_kill_names_the_killer() {
    let mut bench = Bench::new();
    bench.push(&reset(SECOND, 14).state(ESTABLISHED).current(77, "ss").owner(5, "curl", owner::CONNECT));
    bench.push(&closed(SECOND + 1, ESTABLISHED, 103).flags(OWNED).current(77, "ss"));
    let diagnosis = bench.only();
    assert_eq!((diagnosis.cause, certainty(&diagnosis)), (Cause::Killed, Certainty::Observed));
    says(&diagnosis, "killed by ss[77], not by its own process curl[5]");
}

#[test]
fn linger2_is_no_data_after_close() {
    let mut record = reset(SECOND, 8);
    put!(record, tcp.linger2, -1_i32);
    let mut bench = Bench::new();
    bench.push(&record);
    assert_eq!(bench.only().cause, Cause::LingerAbort);
}

#[test]
fn data_after_close_is_not_the_peers_reset() {
    let mut bench = Bench::new();
    bench.push(&record(signal::RESET_RECEIVED, SECOND).state(FIN_WAIT2));
    bench.push(&record(signal::RESET_SENT, SECOND + 1).reset(8, false).state(CLOSE));
    assert_eq!(bench.only().cause, Cause::DataAfterClose);
}

#[test]
fn a_time_wait_reset_is_data_after_close_and_counts_once() {
    let late = RecordBytes::plain(signal::RESET_SENT, SECOND).reset(9, false).state(6).flags(TIME_WAIT);
    let late = late.ends(SERVER, CLIENT).socket(0xdead_0000, 0);
    let mut bench = Bench::new();
    bench.push(&late);
    bench.push(&late);
    assert_eq!(bench.only().cause, Cause::DataAfterClose);
    assert_eq!(bench.deaths(Cause::DataAfterClose), 1);
}

#[test]
fn keepalive_and_memory_resets() {
    let mut bench = Bench::new();
    let mut probes = reset(SECOND, 15).state(ESTABLISHED);
    put!(probes, tcp.probes_out, 9_u8);
    bench.push(&probes);
    let mut end = closed(SECOND + 1, ESTABLISHED, 110);
    put!(end, tcp.probes_out, 9_u8);
    bench.push(&end);
    let all = bench.diagnoses();
    assert_eq!(all.last().unwrap().cause, Cause::KeepaliveTimeout);
    says(all.last().unwrap(), "did not answer 9 keepalive probes");
    for (queued, cause) in [(4000_u32, Cause::TooManyOrphans), (400_000, Cause::OutOfTcpMemory)] {
        let mut bench = Bench::new();
        let mut record = reset(SECOND, 13);
        put!(record, tcp.wmem_queued, queued);
        bench.push(&record);
        let diagnosis = bench.only();
        assert_eq!((diagnosis.cause, diagnosis.evidence[1].certainty), (cause, Certainty::Inferred));
    }
}

/// Its numbers are of after the reset.
#[test]
fn the_limit_that_closed_sockets_passed_is_found_though_they_are_gone() {
    use agent_model::event::{LogLines, TcpMemory};
    let limits = TcpMemory { limits: [1000, 2000, 3000], max_orphans: 8, ..TcpMemory::default() };
    let log = |too_many_orphans, out_of_memory| Some(LogLines { out_of_memory, too_many_orphans });
    for (memory, cause) in [
        (TcpMemory { pages: 200, ..limits.clone() }, Cause::TooManyOrphans),
        (TcpMemory { pages: 2900, ..limits.clone() }, Cause::OutOfTcpMemory),
        (TcpMemory { pages: 2900, orphans: 7, ..limits.clone() }, Cause::TooManyOrphans),
        (TcpMemory { pages: 3100, orphans: 7, ..limits.clone() }, Cause::OutOfTcpMemory),
        (TcpMemory { pages: 2900, log: log(3, 0), ..limits.clone() }, Cause::TooManyOrphans),
        (TcpMemory { pages: 200, orphans: 7, log: log(0, 3), ..limits }, Cause::OutOfTcpMemory),
    ] {
        let mut bench = Bench::new();
        bench.fact(&Fact::TcpMemory(memory.clone()));
        let mut record = reset(SECOND, 13);
        put!(record, tcp.wmem_queued, 400_000_u32);
        bench.push(&record);
        assert_eq!(bench.only().cause, cause, "{memory:?}");
    }
}

#[test]
fn closed_sockets_reset_for_want_of_memory_are_somebodys() {
    let mut bench = Bench::new();
    let mut orphan = |number: u64, comm: &str| {
        let mut record = reset(SECOND + number, 13).socket(0x9000 + number * 64, 900 + number);
        put!(record, tcp.wmem_queued, 4000_u32);
        bench.push(&record.owner(100 + number as u32, comm, owner::CONNECT));
        bench.only()
    };
    orphan(1, "curl");
    orphan(2, "httpd");
    orphan(3, "httpd");
    says(&orphan(4, "curl"), "closed sockets reset for it since the agent's start: 2 of httpd, 1 of curl");
}

#[test]
fn the_peers_reset_tells_what_was_lost() {
    let mut bench = Bench::new();
    bench.push(&unread(record(signal::RESET_RECEIVED, SECOND)));
    let diagnosis = bench.only();
    assert_eq!((diagnosis.cause, certainty(&diagnosis)), (Cause::PeerReset, Certainty::Observed));
    says(&diagnosis, "in ESTABLISHED, 1548 bytes not delivered");
    says(&diagnosis, "300 bytes received are not read");
}

#[test]
fn two_ends_on_one_host_count_once() {
    let mut bench = Bench::new();
    let client = record(signal::RESET_RECEIVED, SECOND).socket(0x2000, 43).ends(CLIENT, SERVER);
    bench.push(&client);
    bench.push(&unread(reset(SECOND + 1000, 11)));
    let diagnoses = bench.diagnoses();
    let causes: Vec<_> = diagnoses.iter().map(|one| one.cause).collect();
    assert_eq!(causes, [Cause::ClosedWithUnreadData, Cause::PeerReset]);
    says(&diagnoses[1], "whose end has the cause closed_with_unread_data");
    assert_eq!(diagnoses[1].peer, diagnoses[0].connection);
    assert_eq!(bench.0.tracker().stats().deaths.iter().sum::<u64>(), 1);
}

fn no_socket() -> RecordBytes {
    let mut record = RecordBytes::plain(signal::RESET_SENT, SECOND).reset(1, false).ends(SERVER, CLIENT);
    put!(record, record.detail.reset_sent.trigger_flags, 2_u8);
    record
}

#[test]
fn a_refused_connect_is_reported_of_the_client_if_it_is_here() {
    let mut bench = Bench::new();
    bench.push(&no_socket());
    let diagnosis = bench.only();
    assert_eq!((diagnosis.cause, diagnosis.connection), (Cause::ConnectionRefused, None));
    says(&diagnosis, "nobody listens on 10.0.0.1:80");
    let mut bench = Bench::new();
    bench.push(&no_socket());
    let refused = RecordBytes::plain(signal::RESET_RECEIVED, SECOND + 1).socket(SK, 42).state(SYN_SENT);
    bench.push(&refused.ends(CLIENT, SERVER).owner(5, "curl", owner::CONNECT));
    says(&bench.only(), "10.0.0.1:80 refused the connect() of curl[5]");
    assert_eq!(bench.deaths(Cause::ConnectionRefused), 1);
}

#[test]
fn what_is_new_is_unknown_and_reported_as_seen() {
    let mut bench = Bench::new();
    bench.push(&reset(SECOND, 99));
    let diagnosis = bench.only();
    assert_eq!(diagnosis.cause, Cause::Unknown);
    says(&diagnosis, "SOMETHING_NEW");
}

#[test]
fn an_orderly_end_is_no_death() {
    let mut bench = Bench::new();
    bench.push(&closed(SECOND, FIN_WAIT2, 0));
    bench.push(&closed(SECOND, FIN_WAIT1, 0).socket(0x77, 77));
    assert_eq!(bench.diagnoses().len(), 0);
}

#[test]
fn what_an_mptcp_socket_had_unread_is_not_called_nothing() {
    let mut bench = Bench::new();
    let mut subflow = reset(SECOND, 11);
    put!(subflow, tcp.is_mptcp, 1_u8);
    bench.push(&subflow);
    let diagnosis = bench.only();
    assert_eq!(diagnosis.cause, Cause::ClosedWithUnreadData);
    says(&diagnosis, "some data (MPTCP");
    says_not(&diagnosis, "0 bytes unread");
}

/// A proxy that is refused closes its client's connection.
#[test]
fn a_connect_that_failed_just_before_is_named() {
    let refused = |time| {
        let record = RecordBytes::plain(signal::RESET_RECEIVED, time).socket(SK + 8, 43).state(SYN_SENT);
        record.ends("10.0.0.1:999", "10.0.0.9:9000").owner(55, "child", owner::CONNECT)
    };
    let closed = |bench: &mut Bench| {
        bench.push(&unread(reset(4 * SECOND, 11)));
        let mut diagnoses = bench.diagnoses();
        diagnoses.retain(|one| one.cause == Cause::ClosedWithUnreadData);
        diagnoses.remove(0)
    };
    let mut bench = Bench::new();
    bench.push(&refused(4 * SECOND - 500_000));
    let diagnosis = closed(&mut bench);
    says(&diagnosis, "its connect() to 10.0.0.9:9000 failed with ECONNREFUSED: connection 2b");
    says(&diagnosis, "tcpwhy why --id 2b");
    // Long before is another matter, and so is another process.
    let mut bench = Bench::new();
    bench.push(&refused(2 * SECOND));
    bench.push(&refused(4 * SECOND - 1).owner(56, "other", owner::CONNECT).socket(SK + 16, 44));
    says_not(&closed(&mut bench), "failed with");
}
