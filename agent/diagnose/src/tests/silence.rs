use agent_model::timers::Rule;

use super::*;

#[test]
fn each_timeout_tells_stage_and_deadline_and_the_death_is_foreseen() {
    let mut bench = Bench::new();
    let mut stamped = timeout(SECOND, 1, 51);
    put!(stamped, tcp.jiffies, 1_000_000_u64);
    bench.push(&stamped);
    let diagnosis = bench.only();
    assert_eq!((diagnosis.cause, diagnosis.phase), (Cause::RetransmissionTimeout, Phase::Stalled));
    let outlook = diagnosis.outlook.unwrap();
    assert_eq!((outlook.stage, outlook.rule, outlook.rto.as_millis()), (1, Rule::TcpRetries2, 408));
    says(&diagnosis, "tcp_retries2 is 15: the kernel gives up at the first timeout past 15min 24.6s");
    assert_eq!(bench.0.tracker().stats().stalled[0], 1);
    let death = outlook.death.unwrap();
    let mut end = closed(death.earliest, ESTABLISHED, 110);
    silent(&mut end, 15);
    bench.push(&end);
    let diagnosis = bench.only();
    assert_eq!((diagnosis.cause, diagnosis.phase), (Cause::RetransmissionTimeout, Phase::Died));
    says(&diagnosis, "gave up with ETIMEDOUT");
    let stats = bench.0.tracker().stats();
    assert_eq!((stats.stalled[0], stats.early.count() + stats.late.count()), (0, 1));
    assert!(stats.early.sum() + stats.late.sum() < 5.0);
}

#[test]
fn a_user_timeout_is_named() {
    let mut end = closed(SECOND, ESTABLISHED, 110);
    silent(&mut end, 3);
    put!(end, tcp.user_timeout, 2500_u32);
    let mut bench = Bench::new();
    bench.push(&end);
    let diagnosis = bench.only();
    assert_eq!(diagnosis.cause, Cause::UserTimeout);
    says(&diagnosis, "TCP_USER_TIMEOUT is 2500 ms");
}

#[test]
fn a_connect_without_an_answer() {
    let mut bench = Bench::new();
    bench.push(&timeout(SECOND, 1, 250).retransmit(retransmit::SYN).state(SYN_SENT));
    assert_eq!(bench.only().cause, Cause::ConnectTimeout);
    let mut end = closed(3 * SECOND, SYN_SENT, 110);
    silent(&mut end, 6);
    bench.push(&end);
    let diagnosis = bench.only();
    assert_eq!((diagnosis.cause, diagnosis.phase), (Cause::ConnectTimeout, Phase::Died));
    says(&diagnosis, "tcp_syn_retries is 6");
}

#[test]
fn who_gives_up_connecting_is_named() {
    let mut bench = Bench::new();
    let syn = timeout(SECOND, 2, 250).retransmit(retransmit::SYN).state(SYN_SENT);
    bench.push(&syn.owner(5, "curl", owner::CONNECT));
    let mut end = closed(3 * SECOND, SYN_SENT, 0);
    silent(&mut end, 2);
    bench.push(&end);
    says(
        bench.diagnoses().last().unwrap(),
        "curl[5] gave up connecting to 10.0.0.2:5555 after 2 SYN timeouts",
    );
}

#[test]
fn an_orphan_has_limits_of_its_own() {
    let mut end = closed(SECOND, FIN_WAIT1, 110);
    silent(&mut end, 8);
    put!(end, tcp.sock_flags, 1_u64);
    let mut bench = Bench::new();
    bench.push(&end);
    let diagnosis = bench.only();
    assert_eq!(diagnosis.cause, Cause::OrphanTimeout);
    // 1548 sequence numbers, of which the last is the FIN.
    says(&diagnosis, "1547 bytes not delivered");
}

#[test]
fn a_shut_window_that_falls_silent() {
    let mut end = closed(SECOND, ESTABLISHED, 110);
    put!(end, tcp.snd_wnd, 0_u32);
    put!(end, tcp.probes_out, 15_u8);
    let mut bench = Bench::new();
    bench.push(&end);
    let diagnosis = bench.only();
    assert_eq!(diagnosis.cause, Cause::ZeroWindowTimeout);
    says(&diagnosis, "15 probes unanswered");
}

/// Keepalive probes have no event: a walk over open files sees them.
#[test]
fn unanswered_keepalive_probes_have_an_outlook() {
    let mut probed = record(signal::SOCK_HELD, 100 * SECOND).held(5, "curl", 1, 3);
    put!(probed, tcp.jiffies, 1_000_000_u64);
    put!(probed, tcp.keepalive_expires, 1_010_000_u64);
    put!(probed, tcp.timer_expires, u64::MAX);
    put!(probed, tcp.sock_flags, 1_u64 << 3);
    put!(probed, tcp.probes_out, 2_u8);
    put!(probed, tcp.rcv_tstamp, 900_000_u32);
    put!(probed, netns.keepalive_intvl, 18_750_u32);
    put!(probed, netns.keepalive_probes, 9_u8);
    let mut bench = Bench::new();
    bench.push(&probed);
    let diagnosis = bench.only();
    assert_eq!((diagnosis.cause, diagnosis.phase), (Cause::KeepaliveTimeout, Phase::Stalled));
    says(&diagnosis, "no answer to 2 keepalive probes: the kernel gives up in 9min 31s by keepalive");
    assert_eq!(diagnosis.outlook.unwrap().rule, Rule::Keepalive);
    let due = bench.0.correlator().walk_due().expect("a walk after the next probe");
    assert!((140 * SECOND..145 * SECOND).contains(&due), "{due}");
}

#[test]
fn a_recovery_clears_the_stall_with_its_stage() {
    let mut bench = Bench::new();
    bench.push(&timeout(SECOND, 1, 51));
    bench.push(&timeout(2 * SECOND, 2, 102));
    bench.diagnoses();
    let mut fast = record(signal::RETRANSMIT, 3 * SECOND).retransmit(retransmit::FAST);
    silent(&mut fast, 2);
    put!(fast, tcp.retransmits, 0_u8);
    put!(fast, tcp.snd_una, 2448_u32);
    bench.push(&fast);
    let diagnosis = bench.only();
    assert_eq!((diagnosis.cause, diagnosis.phase), (Cause::LossyPath, Phase::Recovered));
    let stats = bench.0.tracker().stats();
    assert_eq!((stats.stalled.iter().sum::<u64>(), stats.recoveries.buckets()[1]), (0, (2.0, 1)));
    assert!((stats.durations.sum() - 2.0).abs() < 1e-9);
}

#[test]
fn one_reported_duplicate_clears_all_resends_of_a_segment() {
    let mut bench = Bench::new();
    bench.push(&timeout(SECOND, 1, 51));
    bench.push(&timeout(2 * SECOND, 2, 102));
    bench.diagnoses();
    let mut answered = record(signal::STATE_CHANGED, 3 * SECOND).change(ESTABLISHED, 8);
    silent(&mut answered, 2);
    put!(answered, tcp.retransmits, 0_u8);
    put!(answered, tcp.snd_una, 2448_u32);
    put!(answered, tcp.dsack_dups, 1_u32);
    bench.push(&answered);
    let diagnosis = bench.only();
    assert_eq!((diagnosis.cause, diagnosis.phase), (Cause::SpuriousRetransmit, Phase::Recovered));
    says(&diagnosis, "goes on after 2 timeouts; 2 segments sent again had arrived");
}

#[test]
fn a_window_that_shut_over_data_in_flight_is_reported_at_each_resend() {
    let mut bench = Bench::new();
    for (time, backoff) in [(1, 0_u8), (2, 1), (4, 2)] {
        let mut resend = timeout(time * SECOND, 1, 51);
        put!(resend, tcp.retransmits, 0_u8);
        put!(resend, tcp.backoff, backoff);
        put!(resend, tcp.snd_wnd, 0_u32);
        bench.push(&resend);
    }
    let causes: Vec<_> = bench.diagnoses().into_iter().map(|one| one.cause).collect();
    assert_eq!(causes, [Cause::ZeroWindow; 2], "the first may be a loss");
}

/// Three segments of 1448 bytes are missing, 56 bytes behind them were acknowledged.
pub fn black_hole(record: &mut RecordBytes) {
    put!(record, tcp.mss, 1448_u32);
    put!(record, tcp.packets_out, 4_u32);
    put!(record, tcp.sacked_out, 1_u32);
    put!(record, tcp.snd_una, 1000_u32);
    put!(record, tcp.snd_nxt, 5400_u32);
    put!(record, tcp.write_seq, 5400_u32);
}

#[test]
fn long_segments_vanish_and_short_ones_arrive() {
    let mut bench = Bench::new();
    for stage in 1..=2 {
        let mut record = timeout(u64::from(stage) * SECOND, stage, 51);
        black_hole(&mut record);
        bench.push(&record);
    }
    let said = bench.diagnoses();
    assert_eq!(said[0].cause, Cause::RetransmissionTimeout, "one timeout may be chance");
    assert_eq!(said[1].cause, Cause::PathMtuBlackHole);
    says(&said[1], "full-sized segments (1448 bytes) are lost each time, 56 bytes behind them arrived");
    says_not(&said[1], "no answer");
    // The end empties the socket.
    let mut end = closed(9 * SECOND, ESTABLISHED, 110);
    put!(end, tcp.retransmits, 4_u8);
    bench.push(&end);
    let said = bench.only();
    assert_eq!((said.cause, said.phase), (Cause::PathMtuBlackHole, Phase::Died));
    says(&said, "the kernel gave up with ETIMEDOUT");
}

#[test]
fn what_arrived_as_long_as_what_did_not_is_no_black_hole() {
    let mut bench = Bench::new();
    let mut record = timeout(SECOND, 3, 51);
    black_hole(&mut record);
    put!(record, tcp.snd_nxt, 1000_u32 + 4 * 1448);
    bench.push(&record);
    assert_eq!(bench.only().cause, Cause::RetransmissionTimeout);
}

#[test]
fn a_user_timeout_over_a_shut_window_blames_who_does_not_read() {
    let mut end = closed(SECOND, ESTABLISHED, 110);
    put!(end, tcp.user_timeout, 3000_u32);
    put!(end, tcp.snd_wnd, 0_u32);
    put!(end, tcp.snd_una, 1000_u32);
    put!(end, tcp.snd_nxt, 1000_u32);
    put!(end, tcp.write_seq, 9000_u32);
    put!(end, tcp.jiffies, 100_022_u64);
    put!(end, tcp.rcv_tstamp, 100_000_u32);
    let mut bench = Bench::new();
    bench.push(&end);
    let said = bench.only();
    assert_eq!(said.cause, Cause::UserTimeout);
    says(&said, "its application did not read");
    says(&said, "the peer's last answer came 88ms before the end");
    for wrong in ["no answer", "0 timeouts", "dead,", "never have left"] {
        says_not(&said, wrong);
    }
}

#[test]
fn who_answers_a_syn_with_another_ack_is_not_silent() {
    let mut bench = Bench::new();
    let answer = record(signal::RESET_SENT, SECOND).reset(20, false).state(SYN_SENT);
    bench.push(&answer.owner(5, "curl", owner::CONNECT));
    bench.push(&timeout(SECOND + 15, 1, 250).retransmit(retransmit::SYN).state(SYN_SENT));
    let said = bench.diagnoses().pop().unwrap();
    assert_eq!(said.cause, Cause::ConnectTimeout);
    says(&said, "10.0.0.2:5555 answers the connect() with an ACK of another connection (1 time)");
    says_not(&said, "no answer");
    says_not(&said, "down or unreachable");
}

#[test]
fn no_local_port_is_not_taken_for_a_silence() {
    let mut bench = Bench::new();
    let failed = closed(SECOND, SYN_SENT, 0).ends("10.0.0.1:0", "10.0.0.2:80");
    bench.push(&failed.owner(5, "curl", owner::CONNECT));
    let said = bench.only();
    assert_eq!((said.cause, said.phase), (Cause::NoLocalPort, Phase::Died));
    says(&said, "connect() of curl[5] to 10.0.0.2:80 failed with EADDRNOTAVAIL");
    // Closed by the application before anything came: it has a port.
    bench.push(&closed(2 * SECOND, SYN_SENT, 0).socket(SK + 64, 43));
    assert!(bench.diagnoses().is_empty());
}

#[test]
fn an_icmp_error_refuses_a_connect() {
    let mut bench = Bench::new();
    bench.push(&closed(SECOND, SYN_SENT, libc::EHOSTUNREACH).owner(5, "curl", owner::CONNECT));
    let said = bench.only();
    assert_eq!(said.cause, Cause::IcmpUnreachable);
    says(&said, "refused with EHOSTUNREACH: an ICMP message answered the first SYN");
    says_not(&said, "report it");
}

#[test]
fn a_full_queue_of_this_host_explains_its_client() {
    let mut bench = Bench::new();
    for (sk, pid, waiting) in [(0x1000_u64, 100, 3_u32), (0x1040, 101, 0)] {
        let mut listener = RecordBytes::tcp(signal::SOCK_HELD, 2).socket(sk, sk).ends(SERVER, "0.0.0.0:0");
        put!(listener, record.detail.sock_held.accept_queue, waiting);
        let mut listener = listener.state(LISTEN).held(pid, "worker", 1, 3);
        put!(listener, record.detail.sock_held.backlog, 2_u32);
        bench.push(&listener);
    }
    let syn = timeout(SECOND, 2, 250).retransmit(retransmit::SYN).state(SYN_SENT).ends(CLIENT, SERVER);
    bench.push(&syn.owner(5, "curl", owner::CONNECT));
    let said = bench.only();
    assert_eq!(said.cause, Cause::AcceptQueueFull);
    says(
        &said,
        "worker[100], one of 2 that listen there, does not accept on 10.0.0.1:80: 3 connections wait, its backlog is 2",
    );
    says(&said, "1 other listener on the same port");
    for wrong in ["firewall", "down or unreachable"] {
        says_not(&said, wrong);
    }
}

#[test]
fn syn_and_fin_are_no_data() {
    let mut bench = Bench::new();
    let mut end = closed(SECOND, FIN_WAIT1, 110);
    silent(&mut end, 8);
    put!(end, tcp.sock_flags, 1_u64);
    put!(end, tcp.snd_una, 1000_u32);
    put!(end, tcp.snd_nxt, 1100_u32);
    put!(end, tcp.write_seq, 1100_u32);
    bench.push(&end);
    says(&bench.only(), "99 bytes not delivered");
}
