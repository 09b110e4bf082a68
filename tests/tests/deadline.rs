//! Connections whose peer is silent end when the agent said they would.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use tests::agent::event::Event;
use tests::agent::{agent, command};
use tests::foreseen::{Foreseen, LATE, assert_probes_foreseen, monotonic};
use tests::link::{Family, Pair};
use tests::live::{Silent, Watched, each, insist, named};
use tests::scenes::request::Unanswered;
use tests::scenes::{death, request};
use tests::wait;

#[test]
fn the_end_by_retries2_lies_within_each_prediction() {
    each(|family| {
        let scene = |pair: &Pair| death::silence(pair, family, 3);
        let foreseen = Foreseen::new(Pair::without_probes(), scene, "retransmission_timeout")?;
        foreseen.assert_held("tcp_retries2", 3)
    });
}

#[test]
fn the_end_by_user_timeout_lies_within_each_prediction() {
    each(|family| {
        let scene = |pair: &Pair| death::user_timeout(pair, family, Duration::from_millis(1500));
        let foreseen = Foreseen::new(Pair::without_probes(), scene, "user_timeout")?;
        foreseen.assert_held("tcp_user_timeout", 2)
    });
}

#[test]
fn the_end_of_a_connect_lies_within_each_prediction() {
    each(|family| {
        let scene = |pair: &Pair| death::connect(pair, family, 1);
        Foreseen::new(Pair::new(), scene, "connect_timeout")?.assert_held("tcp_syn_retries", 1)
    });
}

#[test]
fn the_end_of_an_orphan_lies_within_each_prediction() {
    each(|family| {
        let scene = |pair: &Pair| death::orphan(pair, family, 2);
        let foreseen = Foreseen::new(Pair::without_probes(), scene, "orphan_timeout")?;
        foreseen.assert_held("tcp_orphan_retries", 2)
    });
}

#[test]
fn the_end_of_a_connect_with_linear_timeouts_lies_within_each_prediction() {
    each(|family| {
        let scene = |pair: &Pair| death::connect_linear(pair, family, 3, 2);
        Foreseen::new(Pair::new(), scene, "connect_timeout")?.assert_held("tcp_syn_retries", 3)
    });
}

#[test]
fn the_end_by_keepalive_lies_within_each_prediction() {
    each(|family| {
        let scene = |pair: &Pair| death::keepalive(pair, family, 4);
        assert_probes_foreseen(scene, "keepalive_timeout", "keepalive", 2)
    });
}

#[test]
fn the_end_of_idleness_by_user_timeout_lies_within_each_prediction() {
    each(|family| {
        let scene = |pair: &Pair| death::keepalive_user_timeout(pair, family, Duration::from_millis(4500));
        assert_probes_foreseen(scene, "keepalive_timeout", "tcp_user_timeout", 2)
    });
}

#[test]
fn the_end_by_zero_window_probes_lies_within_each_prediction() {
    each(|family| {
        let scene = |pair: &Pair| death::zero_window(pair, family, 4, None);
        assert_probes_foreseen(scene, "zero_window_timeout", "zero_window_probes", 2)
    });
}

#[test]
fn the_end_of_a_shut_window_by_user_timeout_lies_within_each_prediction() {
    each(|family| {
        let scene = |pair: &Pair| death::zero_window(pair, family, 15, Some(Duration::from_millis(4500)));
        assert_probes_foreseen(scene, "user_timeout", "tcp_user_timeout", 2)
    });
}

/// A client that never answers: its request is dropped without an event, so its end is looked for.
#[test]
fn the_end_of_a_half_open_connection_lies_within_each_prediction() {
    insist(|| half_open(|pair| request::unanswered(pair, Family::V4, 2)));
}

#[test]
fn the_end_of_a_half_open_connection_whose_client_repeats_its_syn_is_foreseen() {
    insist(|| half_open(|pair| request::repeated(pair, Family::V4, 1)));
}

fn half_open(scene: impl FnOnce(&Pair) -> Unanswered) -> Result<(), Silent> {
    let watched = Watched::new(Pair::new());
    let request = scene(&watched.pair);
    let events = watched.so_far(request.side);
    let resends = named(&events, "synack_retransmit");
    if resends.len() < 2 {
        return Err(Silent);
    }
    for resend in resends {
        assert_eq!(resend.text("/outlook/deadline/rule"), "tcp_synack_retries");
        let [earliest, latest] = ["earliest", "latest"].map(|limit| monotonic(resend, limit));
        let (there, gone) = request.ended;
        let after = |time: i64| (time - earliest) / 1000;
        eprintln!("gone {} to {} µs of {} µs", after(there), after(gone), after(latest));
        assert!(gone >= earliest && there <= latest + LATE, "{there} to {gone}: {resend:#?}");
        assert!(latest - earliest < 600_000_000, "{resend:#?}");
    }
    Ok(())
}

/// `why` knows a half-open connection by its ends, as long as the kernel does.
#[test]
fn a_half_open_connection_is_explained_by_why() {
    let pair = Pair::new();
    let tail = agent().tail(&pair.server);
    let why = |client: SocketAddr| {
        let socket = agent().socket().to_str().expect("a path of plain text");
        let answer = command::run(&["why", "-o", "json", "--socket", socket, &client.to_string()]);
        answer.status.success().then(|| Event::parse(&String::from_utf8_lossy(&answer.stdout)))
    };
    let request = thread::scope(|scope| {
        let scene = scope.spawn(|| request::unanswered(&pair, Family::V4, 2));
        let resend = tail.wait_for("a SYN-ACK sent again", |event| event.name() == "synack_retransmit");
        let answer = why(resend.address("/remote").expect("the client")).expect("the half-open connection");
        assert_eq!(answer.text("/state"), "NEW_SYN_RECV");
        assert_eq!(answer.text("/process/source"), "listener");
        assert_eq!(answer.text("/outlook/deadline/rule"), "tcp_synack_retries");
        scene.join().expect("the scene")
    });
    wait::until("it to be forgotten", || why(request.side.remote).is_none());
}
