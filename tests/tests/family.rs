//! Who listens, whose children hold the connections, and how much kernel memory that is.

use serde_json::Value;
use tests::actor::Actor;
use tests::agent::{agent, command, folder};
use tests::link::{Family, Pair};
use tests::live::Watched;
use tests::scenes::actors::Actors;
use tests::scenes::family::{Forking, skmem};
use tests::wait;

/// Children of the server.
const CHILDREN: usize = 500;

/// What the agent says of the family of a process.
fn family(pid: u32) -> Value {
    let text = agent().query("/v1/families");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    let families = report["families"].as_array().expect("families");
    let found = families.iter().find(|family| family["process"]["pid"] == pid);
    found.unwrap_or_else(|| panic!("no family of {pid} in {report:#}")).clone()
}

fn number(family: &Value, name: &str) -> u64 {
    family[name].as_u64().unwrap_or_else(|| panic!("no {name} in {family:#}"))
}

#[test]
fn a_server_with_500_children_is_a_family_with_the_memory_that_ss_shows() {
    agent();
    let watched = Watched::new(Pair::new());
    let pair = &watched.pair;
    let mut server = Forking::start(pair, Family::V4);
    server.serve(pair, CHILDREN);
    server.send_all(pair, 10_000);
    let report = family(server.pid());
    let count = |name: &str| number(&report, name);
    assert_eq!((count("connections"), count("children"), count("forked")), (500, 500, 500), "{report:#}");
    // The listener is inherited, a connection is closed by the parent.
    assert_eq!((count("sockets"), count("shared_sockets"), count("others")), (501, 1, 0), "{report:#}");
    assert_eq!(report["forks_per_connection"], true);
    assert_eq!(report["process"]["comm"], "lab-actor");
    let port = server.address().port();
    assert_eq!(report["listens"][0]["local"]["port"], port);
    let shown: u64 = ['r', 'w', 'f'].into_iter().map(|letter| skmem(pair, port, letter)).sum();
    assert_eq!(count("memory_bytes"), shown, "receive queues, send queues and what is charged ahead");
    assert!(shown > 500 * 10_000, "{shown}");
    let first = &report["forecast"][0];
    assert!(first["connections"].as_u64().expect("a forecast") > 500, "{report:#}");

    let side = server.side(pair, 0);
    server.hang_up(1);
    watched.tail(side).wait_for("the reset", |event| event.is("reset_sent", side));
    wait::until("the child to be gone", || family(server.pid())["exited"] == 1);
    let end = side.local.to_string();
    let peer = side.remote.port().to_string();
    let socket = agent().socket().to_str().expect("a path of plain text");
    let output = command::run(&["why", &end, "--port", &peer, "-o", "json", "--socket", socket]);
    let why: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("no report: {error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(why["diagnosis"]["cause"], "closed_with_unread_data");
    let evidence = why["diagnosis"]["evidence"].to_string();
    for part in [
        format!("family of lab-actor[{}]: 500 sockets", server.pid()),
        "499 children with sockets".to_owned(),
        "500 forked and 1 ended".to_owned(),
        "499 of 499 connections are the only one of a child".to_owned(),
        "the first limit that more connections reach is".to_owned(),
    ] {
        assert!(evidence.contains(&part), "no {part:?} in {evidence}");
    }
}

#[test]
fn the_scrape_after_a_scrape_has_the_family() {
    let pair = Pair::new();
    let mut server = Forking::start(&pair, Family::V6);
    server.serve(&pair, 3);
    wait::until("the family in the metrics", || {
        let metrics = agent().metrics();
        let of = |name: &str| metrics.sum(name, &[("comm", "lab-actor")]).unwrap_or_default();
        of("tcpwhy_process_family_children") >= 3.0 && of("tcpwhy_process_family_connections") >= 3.0
    });
    assert!(agent().metrics().count("tcpwhy_walks_total", &[]) > 0);
}

#[test]
fn a_connection_that_was_passed_has_two_holders_of_whom_none_was_forked() {
    Family::each(|address| {
        let pair = Pair::new();
        let mut actors = Actors::connected(&pair, address);
        let path = folder().join(format!("pass-{address:?}.sock"));
        let path = path.to_str().expect("a path of plain text");
        let mut taker = Actor::start(&pair.server, &["take", path]);
        taker.answer("waiting");
        actors.server.order(&format!("pass {path}"));
        taker.answer("taken");
        let report = family(actors.server.pid());
        let count = |name: &str| number(&report, name);
        assert_eq!((count("children"), count("others"), count("shared_sockets")), (0, 1, 1), "{report:#}");
        assert_eq!(count("connections"), 1);
        assert_eq!(report["forks_per_connection"], false);
        let members = report["members"].as_array().expect("members");
        let kinship = |pid: u32| {
            let member = members.iter().find(|member| member["pid"] == pid);
            member.unwrap_or_else(|| panic!("no {pid} in {report:#}"))["kinship"].clone()
        };
        assert_eq!((kinship(actors.server.pid()), kinship(taker.pid())), ("root".into(), "other".into()));
    });
}
