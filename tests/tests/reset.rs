//! What the agent says of resets, sent and received.

use serde_json::{Value, json};
use tests::actor::Actor;
use tests::agent::agent;
use tests::agent::command::run;
use tests::agent::event::Event;
use tests::cgroup::LimitedCgroup;
use tests::link::{Family, Pair};
use tests::live::{self, Silent, Watched, named, owned_by_this_process};
use tests::scenes::actors::Actors;
use tests::scenes::forged::{self, Acknowledged};
use tests::scenes::reset::{self, Reset};
use tests::skip::skip;
use tests::tcp::Side;
use tests::wait;

/// Lets `scene` happen for both families and compares every line of a reset with the truth.
fn both(scene: impl Fn(&Pair, Family) -> Reset + Sync) {
    Family::each(|family| compare(&scene, family).expect("no timer is involved"));
}

fn compare(scene: impl Fn(&Pair, Family) -> Reset, family: Family) -> Result<(), Silent> {
    let watched = Watched::new(Pair::new());
    let reset = scene(&watched.pair, family);
    assert_sent(&sent_line(&watched, &reset)?, &reset);
    if let Some(receiver) = reset.receiver {
        assert_received(&watched, receiver);
    }
    Ok(())
}

/// The one line of the reset that was sent; as many lines as the kernel sent resets.
fn sent_line(watched: &Watched, reset: &Reset) -> Result<Event, Silent> {
    let events = watched.so_far(reset.sender);
    let sent = named(&events, "reset_sent");
    let first = sent.first().ok_or(Silent)?;
    assert_eq!(sent.iter().map(|event| event.stands_for()).sum::<u64>(), reset.snmp.get("TcpOutRsts"));
    assert!(first.is_of(reset.sender), "{first:?} is not of {:?}", reset.sender);
    Ok((*first).clone())
}

fn assert_sent(event: &Event, reset: &Reset) {
    assert_eq!(event.text("/reset/reason"), reset.reason, "{event:?}");
    assert_eq!(event.find("/reset/active").and_then(Value::as_bool), Some(reset.active), "{event:?}");
    assert_eq!(event.text("/family"), reset.sender.family().name());
    if reset.unread > 0 {
        assert_eq!(event.number("/reset/unread_bytes"), reset.unread);
    }
}

fn assert_received(watched: &Watched, receiver: Side) {
    let events = watched.so_far(receiver);
    let resets = named(&events, "reset_received");
    assert_eq!(resets.len(), 1, "{events:#?}");
    assert!(resets[0].is_of(receiver), "{:?} is not of {receiver:?}", resets[0]);
    owned_by_this_process(resets[0]);
}

#[test]
fn no_socket() {
    both(reset::no_socket);
}

#[test]
fn no_socket_has_no_connection_and_no_process() {
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        let reset = reset::no_socket(&watched.pair, family);
        let line = sent_line(&watched, &reset).expect("no timer is involved");
        assert_eq!((line.find("/connection"), line.find("/process"), line.find("/tcp")), (None, None, None));
        let receiver = reset.receiver.expect("the client");
        let refused =
            watched.tail(receiver).wait_for("the refusal", |event| event.is("reset_received", receiver));
        assert_eq!(refused.text("/state"), "SYN_SENT");
    });
}

#[test]
fn abort_on_close() {
    both(|pair, family| reset::abort_on_close(pair, family, 1000));
}

/// Few resets of a tick have a stack, and the tests beside this one take theirs: again until one has.
#[test]
fn abort_on_close_shows_the_path_through_the_kernel() {
    let stack = wait::some("a reset with a stack", || {
        let watched = Watched::new(Pair::new());
        let reset = reset::abort_on_close(&watched.pair, Family::V4, 1000);
        let line = sent_line(&watched, &reset).expect("no timer is involved");
        owned_by_this_process(&line);
        assert_eq!(line.number("/current/pid"), u64::from(std::process::id()));
        line.find("/reset/stack").cloned()
    });
    let frames = stack.as_array().expect("frames");
    let is_close = |frame: &Value| frame.as_str().is_some_and(|frame| frame.contains("tcp_close"));
    assert!(frames.iter().any(is_close), "{stack}");
}

/// The line of the reset that the server sends as it ends.
fn ending(actors: impl FnOnce(&Pair) -> Actors, end: impl FnOnce(Actor)) -> (Side, Event) {
    let watched = Watched::new(Pair::new());
    let actors = actors(&watched.pair);
    let side = actors.server_side;
    actors.server_ends(&watched.pair, 100, end);
    let line = watched.tail(side).wait_for("the reset", |event| event.is("reset_sent", side));
    (side, line)
}

fn connected(pair: &Pair) -> Actors {
    Actors::connected(pair, Family::V6)
}

#[test]
fn a_process_that_was_killed_is_said_to_be() {
    let (_, line) = ending(connected, Actor::kill);
    let exit = line.find("/reset/exit").expect("an end");
    assert_eq!(*exit, json!({ "signal": "SIGKILL", "oom": false }));
}

#[test]
fn a_process_that_exits_is_said_to() {
    let (_, line) = ending(connected, |server| server.last_order("exit 3"));
    let exit = line.find("/reset/exit").expect("an end");
    assert_eq!(*exit, json!({ "status": 3, "oom": false }));
}

#[test]
fn a_process_that_closes_goes_on() {
    let (_, line) = ending(connected, |mut server| server.order("close"));
    assert_eq!(line.find("/reset/exit"), None);
}

/// Enough for an actor, and what it shall take.
const LIMIT: u64 = 16 << 20;

#[test]
fn a_process_that_the_oom_killer_chose_is_said_to_be() {
    let cgroup = match LimitedCgroup::with_limit(LIMIT) {
        Ok(cgroup) => cgroup,
        Err(reason) => return skip("a_process_that_the_oom_killer_chose_is_said_to_be", &reason),
    };
    let inside = |pair: &Pair| {
        Actors::served(pair, Family::V4, |netns, part| Actor::start_in(netns, &cgroup.procs(), part))
    };
    let (side, line) = ending(inside, |server| server.last_order(&format!("hoard {}", 4 * LIMIT)));
    let exit = line.find("/reset/exit").expect("an end");
    assert_eq!(*exit, json!({ "signal": "SIGKILL", "oom": true }));
    let socket = agent().socket().to_str().expect("a path of plain text");
    let (end, port) = (side.local.to_string(), side.remote.port().to_string());
    let why = run(&["why", &end, "--port", &port, "--socket", socket]);
    let text = String::from_utf8_lossy(&why.stdout);
    assert!(text.contains("was killed by the OOM killer"), "{text}");
    assert!(text.contains("raise the memory limit of its cgroup"), "{text}");
}

#[test]
fn linger() {
    both(reset::linger);
}

#[test]
fn disconnect() {
    both(reset::disconnect);
}

#[test]
fn killed() {
    both(reset::killed);
}

#[test]
fn time_wait() {
    both(reset::time_wait);
}

#[test]
fn linger2() {
    both(reset::linger2);
}

#[test]
fn data_after_shutdown() {
    both(reset::data_after_shutdown);
}

#[test]
fn disconnect_with_data() {
    both(reset::disconnect_with_data);
}

#[test]
fn keepalive_timeout() {
    live::each(|family| compare(reset::keepalive_timeout, family));
}

#[test]
fn accept_queue_overflow() {
    both(reset::accept_queue_overflow);
}

#[test]
fn ack_to_listener() {
    both(forged::ack_to_listener);
}

#[test]
fn syn_in_window() {
    both(forged::syn_in_window);
}

#[test]
fn ack_in_syn_sent() {
    both(forged::ack_in_syn_sent);
}

#[test]
fn timestamp_in_syn_sent() {
    both(forged::timestamp_in_syn_sent);
}

#[test]
fn ack_in_syn_recv() {
    for acknowledged in Acknowledged::ALL {
        both(|pair, family| forged::ack_in_syn_recv(pair, family, acknowledged));
    }
}

#[test]
fn a_closed_listener_resets_each_of_its_queue() {
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        let resets = reset::listener_closed(&watched.pair, family, 3);
        let events = watched.so_far(resets[0].sender);
        let sent = named(&events, "reset_sent");
        assert_eq!(sent.len(), 3, "{events:#?}");
        for reset in &resets {
            let line = sent.iter().find(|event| event.is_of(reset.sender)).expect("a line for each client");
            assert_sent(line, reset);
        }
    });
}
