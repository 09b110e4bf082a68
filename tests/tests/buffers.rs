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

/// What `tcpwhy why` says of a connection, after a walk over all open files.
/// Null while nothing is known of it.
fn why(side: Side) -> Value {
    let socket = agent().socket().to_str().expect("a path of plain text");
    let (end, port) = (side.local.to_string(), side.remote.port().to_string());
    let report = command::run(&["why", &end, "--port", &port, "-o", "json", "--socket", socket]);
    serde_json::from_slice(&report.stdout).unwrap_or_default()
}

/// The report, once it has that cause: a walk may be a second old.
fn why_is(side: Side, cause: &str) -> Value {
    wait::some(&format!("{cause} to be said"), || {
        let report = why(side);
        (report["diagnosis"]["cause"] == cause).then_some(report)
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
fn number(report: &Value, before: &str, after: &str) -> u64 {
    let text = report["diagnosis"]["evidence"].to_string();
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before:?} in {text}"));
    let (number, _) = rest.split_once(after).unwrap_or_else(|| panic!("no {after:?} in {rest}"));
    number.parse().unwrap_or_else(|_| panic!("{number:?} in {text}"))
}

fn assert_owned(report: &Value) {
    assert_eq!(report["process"]["pid"], std::process::id(), "{report:#}");
}

#[test]
fn a_writer_on_a_slow_path_has_its_send_buffer_full_until_it_drains() {
    live::each(|family| {
        let watched = Watched::new(Pair::without_probes());
        let resent = memory::send_buffer_full(&watched.pair, family);
        watched.resend(resent.side)?;
        let report = why_is(resent.side, "send_buffer_full");
        assert_owned(&report);
        let queued = number(&report, "send memory ", " of ");
        let limit = number(&report, &format!("send memory {queued} of "), " (SO_SNDBUF)");
        assert_eq!(limit, ss(&watched.pair, resent.side, ",tb"), "SO_SNDBUF, doubled");
        assert!(queued >= limit, "{queued} of {limit}");
        // It drains while we look, by less than what a second lets through.
        let shown = ss(&watched.pair, resent.side, ",w");
        assert!(shown <= queued && shown + limit > queued, "{shown} shown, {queued} reported");
        let evidence = report["diagnosis"]["evidence"].to_string();
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
        let stall = watched.tail(resent.side).wait_for("a shut window", shut);
        assert_eq!(stall.text("/phase"), "stalled");
        let waits = tcp::unacknowledged(&resent.socket) as u64;
        assert!(stall.text("/summary").contains(&format!("{waits} bytes wait here")), "{waits}: {stall:#?}");
        assert_eq!(stall.number("/process/pid"), u64::from(std::process::id()));
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

/// No event reports it: nothing is lost, and every probe is answered.
#[test]
fn a_window_that_is_shut_while_probes_are_answered_is_reported_to_who_asks() {
    Family::each(|family| {
        let watched = Watched::new(Pair::without_probes());
        let waiting = retransmit::zero_window(&watched.pair, family, 2);
        let report = why_is(waiting.side, "zero_window");
        assert_owned(&report);
        let waits = tcp::unacknowledged(&waiting.socket);
        let summary = report["diagnosis"]["summary"].as_str().expect("a summary");
        assert!(summary.contains(&format!("{waits} bytes wait here")), "{waits}: {summary}");
        // Whatever the probe of the moment has come to.
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(500));
            let report = why(waiting.side);
            assert_eq!(report["diagnosis"]["cause"], "zero_window", "{report:#}");
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
    // A walk is a second old at most: what it found may be of before.
    let first = wait::some("who has the cgroup's memory", || {
        let report = why_is(connection.client_side, "cgroup_memory_limit");
        let evidence = report["diagnosis"]["evidence"].to_string();
        let (_, most) = evidence.split_once("most of the cgroup's socket memory: ")?;
        most.split('"').next().map(str::to_owned)
    });
    let (who, size) = first.split_once("] ").expect("a process");
    assert!(who.ends_with(&format!("[{}", std::process::id())), "{first}");
    let reported: f64 = size.split(' ').next().and_then(|size| size.parse().ok()).expect("a size in KiB");
    let truth = cgroup.used() as f64 / 1024.0;
    assert!(reported <= truth && reported * 2.0 > truth, "{reported} KiB reported, {truth} in truth");
    // Of no unit: it is the host's. Of several limits the one that is nearest counts.
    wait::until("the limit in the metrics", || {
        let metrics = agent().metrics();
        let of = |name: &str| metrics.sum(name, &[]).unwrap_or_default();
        of("tcpwhy_cgroup_memory_limit_bytes") >= memory::LIMIT as f64
            && of("tcpwhy_cgroup_sockets_bytes") > 0.0
    });
}
