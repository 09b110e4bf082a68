//! `kubectl tcpwhy`: streams of several nodes in order, and a connection's story from both ends.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};

use tests::agent::event::Event;
use tests::agent::{command::Running, program};
use tests::cluster::{self, Cluster};
use tests::link::{Family, Pair};
use tests::scenes::reset::{self, Reset};
use tests::tcp::{self, Connection};
use tests::{live, wait};

/// Its first word is the plugin's name, as kubectl starts it.
fn run(cluster: &Cluster, arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.arg0("/plugins/kubectl-tcpwhy").args(arguments).env("PATH", cluster.path());
    command.output().expect("run kubectl-tcpwhy")
}

fn aborted(cluster: &Cluster) -> Reset {
    reset::abort_on_close(&cluster.pair, Family::V4, 100)
}

#[test]
fn streams_of_two_nodes_are_one_in_order_and_both_ends_share_a_flow() {
    let cluster = Cluster::start();
    let path: &'static str = cluster.path().leak();
    let tail = Running::start_with(
        &["kubectl", "tail", "-o", "json", "--event", "reset_sent,reset_received", "--since", "1h"],
        [("PATH", path)],
    );
    let reset = aborted(&cluster);
    let receiver = reset.receiver.expect("the client");
    let (mut seen, mut last) = ([None, None], String::new());
    while seen.contains(&None) {
        let event = Event::parse(&tail.wait_for("a line", |line| line.starts_with('{')));
        assert!(last.as_str() <= event.text("/time"), "{last}, then {event:?}");
        event.text("/time").clone_into(&mut last);
        // Others had this namespace's number before.
        match event {
            event if event.is("reset_sent", reset.sender) => seen[0] = Some(event),
            event if event.is("reset_received", receiver) => seen[1] = Some(event),
            _ => (),
        }
    }
    let [sent, other] = seen.map(|event| event.expect("both"));
    assert_eq!((sent.text("/node"), other.text("/node")), ("node-b", "node-a"));
    assert_eq!(sent.text("/flow"), other.text("/flow"));
    assert!(sent.text("/flow").starts_with("1:"));
}

#[test]
fn a_pod_is_asked_of_its_nodes_agent_alone_unless_all_shall_tell() {
    let cluster = Cluster::start();
    let path: &'static str = cluster.path().leak();
    let target = ["kubectl", "tail", "pod/client", "-n", "shop"];
    let tail =
        Running::start_with(&[&target[..], &["--all-nodes", "--since", "1h"]].concat(), [("PATH", path)]);
    let header = tail.wait_for("the header", |line| line.starts_with("NODE"));
    assert!(header.contains("EVENT"), "{header}");
    aborted(&cluster);
    // The server's agent does not know the pod, but its address.
    tail.wait_for("the server's reset", |line| line.starts_with("node-b") && line.contains("reset sent"));
    drop(tail);
    let asked = cluster.asked();
    let execs: Vec<_> = asked.lines().filter(|line| line.starts_with("exec")).collect();
    assert_eq!(execs.len(), 2, "{asked}");
    assert!(
        execs.iter().any(|line| line.contains("agent-0") && line.contains("--pod=shop/client")),
        "{asked}"
    );
    let address = format!("--address={}", cluster.address(0));
    assert!(execs.iter().any(|line| line.contains("agent-1") && line.contains(&address)), "{asked}");

    let alone = Running::start_with(&target, [("PATH", path)]);
    alone.wait_for("a header without nodes", |line| line.starts_with("TIME"));
}

/// Both stories of the connection with this end, once both agents have read them: one name is in three places.
fn both_ends(cluster: &Cluster, how: &str, end: &str) -> Event {
    let report = wait::some(&format!("both ends: {how}"), || {
        let output = run(cluster, &["why", end, "-o", "json"]);
        let report =
            output.status.success().then(|| Event::parse(&String::from_utf8_lossy(&output.stdout)))?;
        report.find("/ends/1").is_some().then_some(report)
    });
    let name = report.text("/shared_id");
    assert_eq!(name.len(), 16, "{report:?}");
    for end in ["/ends/0/report/shared_id", "/ends/1/report/shared_id"] {
        assert_eq!(report.text(end), name, "{report:?}");
    }
    report
}

/// How a connection ended.
type End = fn(&Pair, Family) -> Reset;

/// The socket keeps no initial sequence number: what it counted gives them, wherever it is in its life.
#[test]
fn both_ends_have_one_name_however_it_ended() {
    let cluster = Cluster::start();
    let ends: [(&str, End); 9] = [
        ("abort of the client", reset::abort_of_client),
        ("abort", |pair, family| reset::abort_on_close(pair, family, 100)),
        ("lost data", reset::by_peer),
        ("linger", reset::linger),
        ("disconnect", reset::disconnect),
        ("killed", reset::killed),
        ("linger2", reset::linger2),
        ("data after shutdown", reset::data_after_shutdown),
        ("disconnect with data", reset::disconnect_with_data),
    ];
    let mut names = Vec::new();
    for (word, end) in ends {
        for family in Family::ALL {
            cluster::witnesses().insist(&live::name(), || {
                let reset = end(&cluster.pair, family);
                let report =
                    both_ends(&cluster, word, &reset.receiver.expect("who was reset").local.to_string());
                assert!(!names.contains(&report.text("/shared_id").to_owned()), "{word}: a name of before");
                names.push(report.text("/shared_id").to_owned());
            });
        }
    }
}

#[test]
fn the_other_end_is_found_behind_a_translated_address() {
    let cluster = Cluster::start();
    let pair = &cluster.pair;
    let service: SocketAddr = "203.0.113.80:80".parse().expect("an address");
    let listener = tcp::listen(&pair.server, Family::V4, 8);
    pair.client.translate(service, tcp::local_address(&listener));
    let client = tcp::connect(&pair.client, service);
    let connection = Connection::accepted(pair, listener, client);
    assert_eq!(connection.client_side.remote, service);
    assert_ne!(connection.server_side.local, service);
    tcp::send(&connection.client, 100);
    tcp::readable(&connection.server, 100);
    drop(connection.server);
    assert_eq!(tcp::death(&connection.client), libc::ECONNRESET);
    let report = both_ends(&cluster, "translated", &connection.client_side.local.to_string());
    let port = |end: usize, side: &str| report.number(&format!("/ends/{end}/report/{side}/port"));
    let (translated, real) = (u64::from(service.port()), u64::from(connection.server_side.local.port()));
    let (client, server) = if report.text("/ends/0/node") == "node-a" { (0, 1) } else { (1, 0) };
    assert_eq!((port(client, "remote"), port(server, "local")), (translated, real));
}

#[test]
fn of_two_diagnoses_of_one_connection_the_second_says_so() {
    let cluster = Cluster::start();
    let path: &'static str = cluster.path().leak();
    let tail = Running::start_with(&["kubectl", "tail", "--diagnoses", "--since", "1h"], [("PATH", path)]);
    tail.wait_for("the header", |line| line.starts_with("NODE"));
    aborted(&cluster);
    let second = tail.wait_for("the second end", |line| line.contains("; the other end of node-"));
    assert!(second.contains("closed_with_unread_data") || second.contains("peer_reset"), "{second}");
    assert_eq!(second.starts_with("node-a"), second.ends_with("node-b's"), "{second}");
}

#[test]
fn the_story_comes_from_both_ends() {
    let cluster = Cluster::start();
    let reset = aborted(&cluster);
    let end = reset.receiver.expect("the client").local.to_string();
    both_ends(&cluster, "abort", &end);
    let output = run(&cluster, &["why", &end]);
    let text = String::from_utf8_lossy(&output.stdout);
    for part in [
        "on node node-a",
        "on node node-b",
        "Timeline, by the clocks of both nodes",
        "As node node-a sees it",
        "As node node-b sees it",
        "closed_with_unread_data",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let failed = run(&cluster, &["why", "192.0.2.99:1"]);
    assert!(!failed.status.success());
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(said.contains("no connection matches on any node"), "{said}");
}
