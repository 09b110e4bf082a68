//! Why connections stalled and died, as the agent says it of scenes on the live kernel.

use serde_json::Value;
use tests::actor::{self, CHILD_NAME};
use tests::agent::agent;
use tests::agent::command;
use tests::agent::event::Event;
use tests::foreseen::Foreseen;
use tests::link::{Family, Pair};
use tests::live::{self, Silent, Watched, named};
use tests::scenes::family::Forking;
use tests::scenes::reset::{self, Reset};
use tests::scenes::{death, memory, retransmit, server};
use tests::snmp::Snmp;
use tests::tcp::{self, Connection, Side};
use tests::wait;

/// What is said of the death of one side.
fn death_of(watched: &Watched, side: Side) -> Event {
    let died = |event: &Event| event.is("diagnosis", side) && event.text("/phase") == "died";
    watched.tail(side).wait_for("the diagnosis of a death", died)
}

/// The texts of `/evidence` with their certainty, one a line.
fn evidence(diagnosis: &Event) -> String {
    let all = diagnosis.find("/evidence").and_then(Value::as_array).expect("evidence");
    let lines = all.iter().map(|one| format!("{}: {}\n", texts(&one["certainty"]), texts(&one["text"])));
    lines.collect()
}

/// A text, or the texts of a list.
fn texts(value: &Value) -> String {
    let all = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
    all.iter().map(|text| text.as_str().expect("a text")).collect::<Vec<_>>().join("\n")
}

fn assert_says(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "no {wanted:?} in {text}");
    }
}

/// Lets `scene` happen for both families and asserts the causes at the reset's sender and its receiver.
fn causes(scene: impl Fn(&Pair, Family) -> Reset + Sync, by: &str, at: &str) {
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        let reset = scene(&watched.pair, family);
        let sent = death_of(&watched, reset.sender);
        assert_eq!(sent.text("/cause"), by, "{sent:#?}");
        if let Some(side) = reset.receiver {
            let received = death_of(&watched, side);
            assert_eq!(received.text("/cause"), at, "{received:#?}");
        }
    });
}

#[test]
fn a_child_that_closes_with_unread_data_is_named_with_every_byte() {
    const PAYLOAD: usize = 600 << 10;
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        let served = server::fork_per_connection(&watched.pair, family, PAYLOAD);
        let diagnosis = death_of(&watched, served.reset.sender);
        assert_eq!(diagnosis.text("/cause"), "closed_with_unread_data");
        let (unread, lost) = (served.unread, served.unacknowledged);
        assert_eq!(served.delivered, PAYLOAD - lost, "what the client read and TIOCOUTQ are all");
        let closed = format!("{CHILD_NAME}[{}] exited with status 0, {unread} bytes unread", served.child);
        assert_says(diagnosis.text("/summary"), &[&closed, &format!("{lost} bytes lost to the peer")]);
        let delivered = format!("observed: {} bytes acknowledged by the peer", served.delivered);
        let listener = format!("lab-actor[{}]", served.parent);
        assert_says(&evidence(&diagnosis), &["TCP_ABORT_ON_CLOSE", &delivered, &listener]);
        assert_says(&texts(diagnosis.find("/advice").expect("advice")), &["shutdown", "read until 0"]);
        assert_eq!(diagnosis.number("/ended_by/pid"), u64::from(served.child));
        assert_eq!(diagnosis.text("/ended_by/comm"), CHILD_NAME);
    });
}

#[test]
fn unread_data_is_named_for_what_it_is_at_both_ends() {
    causes(|pair, family| reset::abort_on_close(pair, family, 1000), "closed_with_unread_data", "peer_reset");
}

#[test]
fn an_abort_is_the_lingers() {
    causes(reset::linger, "linger_abort", "peer_reset");
}

#[test]
fn a_negative_linger2_is_an_abort() {
    causes(reset::linger2, "linger_abort", "peer_reset");
}

#[test]
fn a_dissolved_connection_is_disconnected() {
    causes(reset::disconnect, "disconnect", "peer_reset");
}

#[test]
fn data_into_time_wait_comes_after_the_close() {
    causes(reset::time_wait, "data_after_close", "peer_reset");
}

#[test]
fn data_after_a_shutdown_comes_after_the_close() {
    causes(reset::data_after_shutdown, "data_after_close", "peer_reset");
}

#[test]
fn probes_without_an_answer_are_keepalives() {
    causes(reset::keepalive_timeout, "keepalive_timeout", "none");
}

#[test]
fn a_killed_connection_names_the_killer() {
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        let reset = reset::killed(&watched.pair, family);
        let diagnosis = death_of(&watched, reset.sender);
        assert_eq!(diagnosis.text("/cause"), "killed");
        assert_eq!(diagnosis.text("/ended_by/comm"), "ss");
        assert_says(&evidence(&diagnosis), &["observed: the socket's error is ECONNABORTED"]);
        let receiver = reset.receiver.expect("the client");
        assert_eq!(death_of(&watched, receiver).text("/cause"), "peer_reset");
    });
}

#[test]
fn a_closed_listener_is_the_cause_for_each_of_its_queue() {
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        // More than the kernel side takes stacks of in a tick: the others are inferred.
        for reset in reset::listener_closed(&watched.pair, family, 40) {
            assert_eq!(death_of(&watched, reset.sender).text("/cause"), "listener_closed");
            let receiver = reset.receiver.expect("a client");
            assert_eq!(death_of(&watched, receiver).text("/cause"), "peer_reset");
        }
    });
}

#[test]
fn a_refused_connect_is_reported_once_of_the_client() {
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        let reset = reset::no_socket(&watched.pair, family);
        let diagnosis = death_of(&watched, reset.receiver.expect("the client"));
        assert_eq!(diagnosis.text("/cause"), "connection_refused");
        assert_eq!(diagnosis.number("/process/pid"), u64::from(std::process::id()));
        let at_the_server = watched.so_far(reset.sender);
        assert!(named(&at_the_server, "diagnosis").is_empty(), "{at_the_server:#?}");
    });
}

/// The last ACK is dropped in silence, and the SYN-ACK goes out again: not a lost packet, and not refused.
#[test]
fn a_full_accept_queue_that_drops_in_silence_is_named_at_each_syn_ack() {
    live::each(|family| {
        let watched = Watched::new(Pair::new());
        let (side, _held) = memory::accept_queue_full(&watched.pair, family);
        wait::until("a SYN-ACK to be sent again", || {
            Snmp::read(&watched.pair.server).get("TcpExtTCPSynRetrans") > 0
        });
        let events = watched.of(side);
        named(&events, "synack_retransmit").first().ok_or(Silent)?;
        let diagnoses = named(&events, "diagnosis");
        assert!(diagnoses.iter().all(|one| one.text("/cause") == "accept_queue_full"), "{diagnoses:#?}");
        let all: String = diagnoses.into_iter().map(evidence).collect();
        assert_says(&all, &["was sent again 1 time", "the accept queue has 2 of 1"]);
        Ok(())
    });
}

#[test]
fn a_full_accept_queue_refuses_nobody() {
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        let reset = reset::accept_queue_overflow(&watched.pair, family);
        let receiver = reset.receiver.expect("the client");
        assert_eq!(death_of(&watched, receiver).text("/cause"), "peer_reset");
        let diagnosis = death_of(&watched, reset.sender);
        assert_eq!(diagnosis.text("/cause"), "accept_queue_full", "{diagnosis:#?}");
        assert_says(&evidence(&diagnosis), &["tcp_abort_on_overflow", "its backlog is 1"]);
    });
}

#[test]
fn a_reset_from_the_peer_says_what_was_lost_here() {
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        let connection = Connection::open(&watched.pair, family);
        let (server_side, client_side) = (connection.server_side, connection.client_side);
        let Connection { client, server, .. } = connection;
        // The window closes: some of it is sent, some is not, and nothing of it moves any more.
        let written = tcp::fill(&client);
        tcp::readable(&server, 1);
        drop(server);
        assert_eq!(tcp::death(&client), libc::ECONNRESET);
        let (here, there) = (death_of(&watched, client_side), death_of(&watched, server_side));
        assert_eq!((here.text("/cause"), there.text("/cause")), ("peer_reset", "closed_with_unread_data"));
        let (lost, delivered) = (lost(&here), delivered(&here));
        assert_eq!(lost + delivered, written, "{here:#?}");
        assert!(lost > 0, "{here:#?}");
        assert_says(&evidence(&here), &["the other end is on this host", "closed_with_unread_data"]);
    });
}

/// Bytes that the evidence calls not delivered.
fn lost(diagnosis: &Event) -> usize {
    number_before(&evidence(diagnosis), " bytes were never acknowledged")
}

/// Bytes that the evidence calls acknowledged.
fn delivered(diagnosis: &Event) -> usize {
    number_before(&evidence(diagnosis), " bytes acknowledged by the peer")
}

fn number_before(text: &str, words: &str) -> usize {
    let (before, _) = text.split_once(words).unwrap_or_else(|| panic!("no {words:?} in {text}"));
    before.rsplit(' ').next().unwrap_or_default().parse().expect("a number")
}

#[test]
fn a_recovery_clears_the_stall() {
    live::each(|family| {
        let watched = Watched::new(Pair::without_probes());
        let resent = retransmit::timeouts(&watched.pair, family, 2);
        let side = resent.side;
        drop(resent);
        let events = watched.of(side);
        if named(&events, "retransmit").len() < 3 {
            return Err(Silent);
        }
        let phases = named(&events, "diagnosis").into_iter().map(|one| one.text("/phase"));
        assert_eq!(phases.collect::<Vec<_>>(), ["stalled", "stalled", "stalled", "recovered"], "{events:#?}");
        let recovered = named(&events, "diagnosis")[3];
        assert_eq!(recovered.find("/outlook"), None);
        Ok(())
    });
}

/// What `tcpwhy why` says; it must end with 0.
fn why(more: &[&str]) -> String {
    let socket = agent().socket().to_str().expect("a path of plain text");
    let output = command::run(&[&["why", "--socket", socket], more].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "why {more:?}: {}: {errors}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn why_tells_of_the_dead() {
    live::insist(|| {
        let scene = |pair: &Pair| death::silence(pair, Family::V4, 1);
        let foreseen = Foreseen::new(Pair::without_probes(), scene, "retransmission_timeout")?;
        let netns = foreseen.watched.pair.client.inode().to_string();
        let port = foreseen.side.local.port().to_string();
        for wanted in [["--last"].as_slice(), &["--port", &port]] {
            let wanted = [wanted, &["--netns", &netns]].concat();
            assert_says(&why(&wanted), &["retransmission_timeout", "tcp_retries2"]);
            let json: Value =
                serde_json::from_str(&why(&[&wanted[..], &["-o", "json"]].concat())).expect("JSON");
            assert_eq!(json["diagnosis"]["cause"], "retransmission_timeout", "{json:#}");
            assert_eq!(json["alive"], false);
        }
        Ok(())
    });
}

/// Nothing ever happened to it, so that nobody remembers it.
#[test]
fn why_of_a_healthy_connection_says_who_holds_it() {
    agent();
    Family::each(|family| {
        let pair = Pair::new();
        let mut server = Forking::start(&pair, family);
        server.serve(&pair, 1);
        let (side, child) = (server.side(&pair, 0), server.children[0]);
        let held = format!("{}[{child}]", actor::NAME);
        let end = side.remote.to_string();
        let of_server = why(&[&end, "--netns", &pair.server.inode().to_string()]);
        let listens = format!("{}[{}], which listens there, does not hold it", actor::NAME, server.pid());
        assert_says(&of_server, &[&format!("held by {held}"), &listens, "ESTABLISHED", "nothing is wrong"]);
        let of_client = why(&[&end, "--netns", &pair.client.inode().to_string()]);
        assert_says(&of_client, &[&format!("held by {held}"), "the other end is on this host"]);
        // Its end has no event: nobody may say that it lives. What a walk found may be a second old.
        server.hang_up(1);
        wait::until("it to be forgotten", || !is_known(&end));
    });
}

fn is_known(end: &str) -> bool {
    let socket = agent().socket().to_str().expect("a path of plain text");
    command::run(&["why", "--socket", socket, end]).status.success()
}

#[test]
fn why_of_nobodys_connection_is_an_error() {
    let socket = agent().socket().to_str().expect("a path of plain text");
    let output = command::run(&["why", "--socket", socket, "198.51.100.77:7"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("no connection matches, neither of those that are open"), "{errors}");
}
