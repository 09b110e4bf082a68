//! The lab itself: every scene proved by the kernel's own counters, before any agent is asked.

use std::time::Duration;

use tests::actor::Actor;
use tests::link::{Family, Pair};
use tests::scenes::actors::Actors;
use tests::scenes::forged::{self, Acknowledged};
use tests::scenes::reset::{self, Reset};
use tests::scenes::retransmit::{self, Resent};
use tests::scenes::{death, memory, server};
use tests::skip::skip;
use tests::{snmp, tcp};

/// Asserts counters of a scene: those given, no more and no less.
fn counted(resent: &Resent, expected: &[(&str, u64)]) {
    let counters = expected.iter().map(|(name, _)| (*name, resent.snmp.get(name)));
    assert_eq!(counters.collect::<Vec<_>>(), expected, "{:?}", resent.snmp.changed());
    assert_eq!(resent.snmp.get("TcpOutRsts"), 0);
}

#[test]
fn timeouts_are_nothing_but_timeouts() {
    Family::each(|family| {
        let resent = retransmit::timeouts(&Pair::without_probes(), family, 3);
        counted(
            &resent,
            &[
                ("TcpRetransSegs", 4),
                ("TcpExtTCPTimeouts", 4),
                ("TcpExtTCPLossProbes", 0),
                ("TcpExtTCPFastRetrans", 0),
                ("TcpExtTCPSlowStartRetrans", 0),
            ],
        );
        assert_eq!(resent.total(), 4);
    });
}

#[test]
fn a_tail_loss_probe_comes_before_the_timer() {
    Family::each(|family| {
        let resent = retransmit::tail_loss_probe(&Pair::new(), family);
        counted(&resent, &[("TcpRetransSegs", 1), ("TcpExtTCPLossProbes", 1), ("TcpExtTCPTimeouts", 0)]);
    });
}

#[test]
fn one_lost_segment_is_sent_again_fast() {
    Family::each(|family| {
        let resent = retransmit::fast(&Pair::new(), family);
        counted(
            &resent,
            &[
                ("TcpRetransSegs", 1),
                ("TcpExtTCPFastRetrans", 1),
                ("TcpExtTCPSackRecovery", 1),
                ("TcpExtTCPTimeouts", 0),
            ],
        );
    });
}

#[test]
fn a_lossy_path_shows_fast_retransmissions() {
    Family::each(|family| {
        let resent = retransmit::lossy_transfer(&Pair::new(), family);
        assert!(resent.snmp.get("TcpExtTCPFastRetrans") > 0, "{:?}", resent.snmp.changed());
        assert_eq!(resent.snmp.get("TcpRetransSegs"), resent.total());
    });
}

#[test]
fn a_lost_window_restarts_slowly() {
    Family::each(|family| {
        let resent = retransmit::slow_start(&Pair::without_probes(), family);
        counted(
            &resent,
            &[
                ("TcpRetransSegs", 10),
                ("TcpExtTCPTimeouts", 1),
                ("TcpExtTCPSlowStartRetrans", 9),
                ("TcpExtTCPFastRetrans", 0),
            ],
        );
    });
}

#[test]
fn a_lost_syn_is_sent_again() {
    Family::each(|family| {
        let resent = retransmit::syn(&Pair::new(), family);
        counted(&resent, &[("TcpRetransSegs", 1), ("TcpExtTCPSynRetrans", 1), ("TcpExtTCPTimeouts", 1)]);
    });
}

#[test]
fn a_lost_handshake_acknowledgement_repeats_the_synack() {
    Family::each(|family| {
        let resent = retransmit::synack(&Pair::new(), family);
        counted(&resent, &[("TcpRetransSegs", 1), ("TcpExtTCPSynRetrans", 1), ("TcpExtTCPTimeouts", 1)]);
        assert_eq!(resent.total(), 0, "the client sent nothing again");
    });
}

#[test]
fn a_refused_retransmission_counts_as_failed() {
    Family::each(|family| {
        let resent = retransmit::refused(&Pair::without_probes(), family, 2);
        assert_eq!(resent.snmp.get("TcpExtTCPRetransFail"), 2, "{:?}", resent.snmp.changed());
        counted(&resent, &[("TcpRetransSegs", 3), ("TcpExtTCPTimeouts", 3)]);
    });
}

#[test]
fn a_late_acknowledgement_makes_a_resend_spurious() {
    Family::each(|family| {
        let resent = retransmit::spurious(&Pair::without_probes(), family);
        assert!(resent.snmp.get("TcpExtTCPDSACKRecv") >= 1, "{:?}", resent.snmp.changed());
        assert_eq!(resent.snmp.get("TcpRetransSegs"), resent.snmp.get("TcpExtTCPTimeouts"));
    });
}

#[test]
fn a_closed_window_is_probed_and_nothing_sent_again() {
    Family::each(|family| {
        let resent = retransmit::zero_window(&Pair::without_probes(), family, 2);
        counted(&resent, &[("TcpRetransSegs", 0), ("TcpExtTCPTimeouts", 0)]);
    });
}

#[test]
fn a_window_that_shrinks_to_nothing_resends_without_timeouts() {
    Family::each(|family| {
        let resent = retransmit::shrunk_window(&Pair::without_probes(), family, 3);
        assert!(resent.total() >= 3);
        counted(&resent, &[("TcpExtTCPTimeouts", 0), ("TcpExtTCPWinProbe", 0), ("TcpExtTCPLossProbes", 0)]);
    });
}

/// Asserts that one reset left the sender, with these counters beside it, and how the receiver's
/// application learnt of it.
fn one_reset(reset: &Reset, errno: Option<i32>, counters: &[(&str, u64)]) {
    assert_eq!(reset.errno, errno, "{}", reset.reason);
    assert_eq!(reset.snmp.get("TcpOutRsts"), 1, "{}: {:?}", reset.reason, reset.snmp.changed());
    for (name, count) in counters {
        assert_eq!(reset.snmp.get(name), *count, "{}: {name}: {:?}", reset.reason, reset.snmp.changed());
    }
}

#[test]
fn a_closed_port_resets() {
    Family::each(|family| one_reset(&reset::no_socket(&Pair::new(), family), Some(libc::ECONNREFUSED), &[]));
}

#[test]
fn close_with_unread_data_resets() {
    Family::each(|family| {
        let reset = reset::abort_on_close(&Pair::new(), family, 1000);
        one_reset(&reset, Some(libc::ECONNRESET), &[("TcpExtTCPAbortOnClose", 1)]);
    });
}

#[test]
fn linger_zero_resets() {
    Family::each(|family| {
        let reset = reset::linger(&Pair::new(), family);
        one_reset(
            &reset,
            Some(libc::ECONNRESET),
            &[("TcpExtTCPAbortOnData", 1), ("TcpExtTCPAbortOnClose", 0)],
        );
    });
}

#[test]
fn disconnect_resets() {
    Family::each(|family| one_reset(&reset::disconnect(&Pair::new(), family), Some(libc::ECONNRESET), &[]));
}

#[test]
fn ss_kill_resets() {
    Family::each(|family| one_reset(&reset::killed(&Pair::new(), family), Some(libc::ECONNRESET), &[]));
}

#[test]
fn a_closed_listener_resets_its_queue() {
    Family::each(|family| {
        let resets = reset::listener_closed(&Pair::new(), family, 3);
        assert_eq!(resets.len(), 3);
        for reset in resets {
            assert_eq!((reset.errno, reset.snmp.get("TcpOutRsts")), (Some(libc::ECONNRESET), 3));
        }
    });
}

#[test]
fn a_write_after_the_peers_close_is_reset() {
    Family::each(|family| {
        let reset = reset::time_wait(&Pair::new(), family);
        one_reset(&reset, Some(libc::EPIPE), &[("TcpExtTCPAbortOnData", 0)]);
    });
}

#[test]
fn linger2_below_zero_resets() {
    Family::each(|family| {
        let reset = reset::linger2(&Pair::new(), family);
        one_reset(&reset, Some(libc::EPIPE), &[("TcpExtTCPAbortOnData", 1)]);
    });
}

#[test]
fn data_after_shutdown_resets() {
    Family::each(|family| {
        let reset = reset::data_after_shutdown(&Pair::new(), family);
        one_reset(&reset, Some(libc::EPIPE), &[("TcpExtTCPAbortOnData", 1)]);
    });
}

#[test]
fn disconnect_with_data_resets() {
    Family::each(|family| {
        one_reset(&reset::disconnect_with_data(&Pair::new(), family), Some(libc::ECONNRESET), &[]);
    });
}

#[test]
fn unanswered_keepalive_resets() {
    Family::each(|family| {
        let reset = reset::keepalive_timeout(&Pair::new(), family);
        one_reset(&reset, None, &[("TcpExtTCPKeepAlive", 1)]);
    });
}

#[test]
fn a_full_accept_queue_resets() {
    Family::each(|family| {
        let reset = reset::accept_queue_overflow(&Pair::new(), family);
        one_reset(&reset, Some(libc::ECONNRESET), &[("TcpExtListenOverflows", 1)]);
    });
}

#[test]
fn forged_segments_are_reset() {
    Family::each(|family| {
        one_reset(&forged::ack_to_listener(&Pair::new(), family), None, &[]);
        one_reset(&forged::syn_in_window(&Pair::new(), family), None, &[("TcpAttemptFails", 1)]);
        one_reset(&forged::ack_in_syn_sent(&Pair::new(), family), None, &[]);
        one_reset(&forged::timestamp_in_syn_sent(&Pair::new(), family), None, &[("TcpExtPAWSActive", 1)]);
        for acknowledged in Acknowledged::ALL {
            one_reset(&forged::ack_in_syn_recv(&Pair::new(), family, acknowledged), None, &[]);
        }
    });
}

#[test]
fn silence_kills_as_retries2_says() {
    Family::each(|family| {
        let death = death::silence(&Pair::without_probes(), family, 1);
        assert_eq!(death.errno, Some(libc::ETIMEDOUT));
        // docs/kernel.md, "When the kernel gives a silent peer up": 2 resends, 1.46 s; never before T(1) = 0.6 s.
        assert_eq!(death.snmp.get("TcpRetransSegs"), 2, "{:?}", death.snmp.changed());
        assert_eq!((death.snmp.get("TcpExtTCPAbortOnTimeout"), death.snmp.get("TcpOutRsts")), (1, 0));
        assert!(death.after >= Duration::from_millis(600), "{:?}", death.after);
    });
}

#[test]
fn user_timeout_kills() {
    Family::each(|family| {
        let timeout = Duration::from_secs(1);
        let death = death::user_timeout(&Pair::without_probes(), family, timeout);
        assert_eq!((death.errno, death.snmp.get("TcpExtTCPAbortOnTimeout")), (Some(libc::ETIMEDOUT), 1));
        assert!(death.after >= timeout, "{:?}", death.after);
    });
}

#[test]
fn a_connect_nobody_answers_times_out() {
    Family::each(|family| {
        let death = death::connect(&Pair::new(), family, 1);
        assert_eq!((death.errno, death.snmp.get("TcpExtTCPSynRetrans")), (Some(libc::ETIMEDOUT), 1));
        assert!(death.after >= Duration::from_secs(3), "{:?}", death.after);
    });
}

#[test]
fn an_orphan_is_given_up() {
    Family::each(|family| {
        let death = death::orphan(&Pair::without_probes(), family, 1);
        assert_eq!((death.snmp.get("TcpExtTCPAbortOnTimeout"), death.snmp.get("TcpOutRsts")), (1, 0));
        assert!(death.snmp.get("TcpExtTCPTimeouts") > 0);
    });
}

#[test]
fn a_device_that_is_down_kills_without_a_resend() {
    let death = death::own_device_down(&Pair::new(), Family::V4, 1);
    assert_eq!((death.errno, death.snmp.get("TcpRetransSegs")), (Some(libc::ETIMEDOUT), 0));
}

#[test]
fn an_unread_ping_socket_overflows() {
    Family::each(|family| {
        let full = memory::rcvqueue_full(&Pair::new(), family);
        assert!((1..10).contains(&full.refused), "{full:?}");
    });
}

#[test]
fn a_memory_cgroup_stops_a_sender() {
    match memory::send_refused(&Pair::new(), Family::V4) {
        Ok((connection, _)) => assert!(tcp::unacknowledged(&connection.client) > 0),
        Err(reason) => skip("a_memory_cgroup_stops_a_sender", &reason),
    }
}

#[test]
fn a_memory_cgroup_stops_a_receiver() {
    match memory::receive_refused(&Pair::new(), Family::V4) {
        Ok(connection) => assert!(tcp::unread(&connection.server) > 0),
        Err(reason) => skip("a_memory_cgroup_stops_a_receiver", &reason),
    }
}

#[test]
fn a_forking_server_resets_its_client() {
    Family::each(|family| {
        let payload = 600 << 10;
        let served = server::fork_per_connection(&Pair::new(), family, payload);
        // How much fits the client's buffer is up to autotuning; what was not acknowledged is lost.
        assert_eq!(served.delivered + served.unacknowledged, payload, "{served:?}");
        assert_ne!(served.child, served.parent);
        one_reset(&served.reset, Some(libc::ECONNRESET), &[("TcpExtTCPAbortOnClose", 1)]);
    });
}

#[test]
fn actors_have_names_and_obey() {
    let pair = Pair::new();
    let at = pair.server.socket_address(Family::V4, 0).to_string();
    let mut server = Actor::start(&pair.server, &["accept", &at]);
    let to = server.address("listening");
    let mut client = Actor::start(&pair.client, &["connect", &to.to_string()]);
    assert_eq!(client.address("connected"), server.address("accepted"));
    assert_eq!(std::fs::read_to_string(format!("/proc/{}/comm", client.pid())).unwrap(), "lab-actor\n");
    client.order("send 100");
    server.order("receive 100");
    client.order("abort");
    assert_eq!(snmp::Snmp::read(&pair.client).get("TcpOutRsts"), 1);
}

#[test]
fn actors_resend_and_reset() {
    Family::each(|family| {
        let pair = Pair::new();
        let mut actors = Actors::connected(&pair, family);
        actors.client_resends(&pair);
        actors.server_resends(&pair);
        actors.server_is_killed(&pair, 100);
        assert_eq!(snmp::Snmp::read(&pair.server).get("TcpOutRsts"), 1);
    });
}

#[test]
fn a_burst_resets_every_connect() {
    let burst = reset::burst(&Pair::new(), Family::V4, 500);
    assert_eq!(burst.snmp.get("TcpOutRsts"), 500);
}
