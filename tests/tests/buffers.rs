//! Buffers that are full and windows that are shut: who holds them up, with the numbers that `ss` has.

use std::thread;
use std::time::Duration;

use serde_json::Value;
use tests::agent::{agent, command};
use tests::link::{Family, Pair};
use tests::live::{self, Watched};
use tests::scenes::{memory, retransmit};
use tests::skip::skip;
use tests::tcp::{self, Side};
use tests::wait;

/// What `tcpwhy why` says of a connection, after a look at all open files.
/// Null while nothing is known of it.
fn why(side: Side) -> Value {
    let socket = agent().socket().to_str().expect("a path of plain text");
    let (end, port) = (side.local.to_string(), side.remote.port().to_string());
    let told = command::run(&["why", &end, "--port", &port, "-o", "json", "--socket", socket]);
    serde_json::from_slice(&told.stdout).unwrap_or_default()
}

/// The report, once it has that cause: a look may be a second old.
fn why_is(side: Side, cause: &str) -> Value {
    wait::some(&format!("{cause} to be said"), || {
        let told = why(side);
        (told["diagnosis"]["cause"] == cause).then_some(told)
    })
}

/// A number of `ss -tmnpie` of the connection: the one after `word`.
fn ss(pair: &Pair, side: Side, word: &str) -> u64 {
    let host = if side.netns == pair.client.inode() { &pair.client } else { &pair.server };
    let (local, remote) = (side.local.port(), side.remote.port());
    let text = host.command(&format!("ss -tmnpieH sport = :{local} dport = :{remote}"));
    let (_, rest) = text.split_once(word).unwrap_or_else(|| panic!("no {word:?} in {text}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no number after {word:?} in {text}"))
}

/// The number between two words of the evidence.
fn number(told: &Value, before: &str, after: &str) -> u64 {
    let text = told["diagnosis"]["evidence"].to_string();
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before:?} in {text}"));
    let (number, _) = rest.split_once(after).unwrap_or_else(|| panic!("no {after:?} in {rest}"));
    number.parse().unwrap_or_else(|_| panic!("{number:?} in {text}"))
}

fn assert_owned(told: &Value) {
    assert_eq!(told["process"]["pid"], std::process::id(), "{told:#}");
}

#[test]
fn a_writer_on_a_slow_path_has_its_send_buffer_full_until_it_drains() {
    live::each(|family| {
        let watched = Watched::new(Pair::without_probes());
        let resent = memory::send_buffer_full(&watched.pair, family);
        watched.resend(resent.side)?;
        let told = why_is(resent.side, "send_buffer_full");
        assert_owned(&told);
        let queued = number(&told, "send memory ", " of ");
        let limit = number(&told, &format!("send memory {queued} of "), " (SO_SNDBUF)");
        assert_eq!(limit, ss(&watched.pair, resent.side, ",tb"), "SO_SNDBUF, doubled");
        assert!(queued >= limit, "{queued} of {limit}");
        // It drains while we look, by less than what a second lets through.
        let shown = ss(&watched.pair, resent.side, ",w");
        assert!(shown <= queued && shown + limit > queued, "{shown} shown, {queued} told");
        let evidence = told["diagnosis"]["evidence"].to_string();
        assert!(evidence.contains("the application fixed SO_SNDBUF"), "{evidence}");
        watched.pair.client.fast();
        tcp::nonblocking(resent.peer.as_ref().expect("the reader"));
        wait::until("all to be acknowledged", || {
            tcp::drain(resent.peer.as_ref().expect("the reader"));
            tcp::unacknowledged(&resent.socket) == 0
        });
        wait::until("it to be full no more", || why(resent.side)["diagnosis"]["cause"] != "send_buffer_full");
        Ok(())
    });
}

#[test]
fn a_reader_that_stops_shuts_its_window_until_it_reads_again() {
    live::each(|family| {
        let watched = Watched::new(Pair::without_probes());
        let resent = retransmit::shrunk_window(&watched.pair, family, 2);
        watched.resend(resent.side)?;
        let shut = |event: &tests::agent::event::Event| {
            event.is("diagnosis", resent.side) && event.text("/cause") == "zero_window"
        };
        let told = watched.tail(resent.side).wait_for("a shut window", shut);
        assert_eq!(told.text("/phase"), "stalled");
        let waits = tcp::unacknowledged(&resent.socket) as u64;
        assert!(told.text("/summary").contains(&format!("{waits} bytes wait here")), "{waits}: {told:#?}");
        assert_eq!(told.number("/process/pid"), u64::from(std::process::id()));
        let report = why_is(resent.side, "zero_window");
        assert_eq!(report["holders"][0]["pid"], std::process::id(), "{report:#}");
        let reader = resent.side.reversed(&watched.pair.server);
        let (unread, buffer) = (ss(&watched.pair, reader, "(r"), ss(&watched.pair, reader, ",rb"));
        assert!(unread > buffer / 2, "the reader holds {unread} of {buffer}");

        let peer = resent.peer.as_ref().expect("the reader");
        tcp::nonblocking(peer);
        wait::until("all that waited to arrive", || {
            tcp::drain(peer);
            tcp::unacknowledged(&resent.socket) == 0
        });
        wait::until("the window to be open", || why(resent.side)["diagnosis"]["cause"] != "zero_window");
        Ok(())
    });
}

/// No event tells of it: nothing is lost, and every probe is answered.
#[test]
fn a_window_that_is_shut_while_probes_are_answered_is_told_to_who_asks() {
    Family::each(|family| {
        let watched = Watched::new(Pair::without_probes());
        let waiting = retransmit::zero_window(&watched.pair, family, 2);
        let told = why_is(waiting.side, "zero_window");
        assert_owned(&told);
        let waits = tcp::unacknowledged(&waiting.socket);
        let summary = told["diagnosis"]["summary"].as_str().expect("a summary");
        assert!(summary.contains(&format!("{waits} bytes wait here")), "{waits}: {summary}");
        // Whatever the probe of the moment has come to.
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(500));
            let told = why(waiting.side);
            assert_eq!(told["diagnosis"]["cause"], "zero_window", "{told:#}");
        }
    });
}

#[test]
fn of_a_cgroup_that_refuses_the_holder_is_named_and_the_limit_scraped() {
    let test = "of_a_cgroup_that_refuses_the_holder_is_named_and_the_limit_scraped";
    let watched = Watched::new(Pair::new());
    let (connection, cgroup) = match memory::send_refused(&watched.pair, Family::V4) {
        Ok(refused) => refused,
        Err(reason) => return skip(test, &reason),
    };
    // A look is a second old at most: what it found may be of before.
    let first = wait::some("who has the cgroup's memory", || {
        let told = why_is(connection.client_side, "cgroup_memory_limit");
        let evidence = told["diagnosis"]["evidence"].to_string();
        let (_, most) = evidence.split_once("most of the cgroup's socket memory: ")?;
        most.split('"').next().map(str::to_owned)
    });
    let (who, size) = first.split_once("] ").expect("a process");
    assert!(who.ends_with(&format!("[{}", std::process::id())), "{first}");
    let told: f64 = size.split(' ').next().and_then(|size| size.parse().ok()).expect("a size in KiB");
    let truth = cgroup.used() as f64 / 1024.0;
    assert!(told <= truth && told * 2.0 > truth, "{told} KiB told, {truth} in truth");
    // Of no unit: it is the host's. Of several limits the one that is nearest counts.
    wait::until("the limit in the metrics", || {
        let metrics = agent().metrics();
        let of = |name: &str| metrics.sum(name, &[]).unwrap_or_default();
        of("tcpwhy_cgroup_memory_limit_bytes") >= memory::LIMIT as f64
            && of("tcpwhy_cgroup_sockets_bytes") > 0.0
    });
}
