//! `kubectl tcpwhy`: streams of several nodes in order, and a connection's story from both ends.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};

use tests::agent::event::Event;
use tests::agent::{command::Running, program};
use tests::cluster::Cluster;
use tests::link::Family;
use tests::scenes::reset::{self, Reset};

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
    let mut events = Vec::new();
    while events.len() < 2 {
        let line = tail.wait_for("a line", |line| line.starts_with('{'));
        events.push(Event::parse(&line));
    }
    // Between namespaces of one host the segment arrives before the program that tells of its sending has run.
    assert!(events[0].text("/time") < events[1].text("/time"), "{events:?}");
    let sent = events.iter().find(|event| event.is("reset_sent", reset.sender)).expect("who reset");
    let other = events.iter().find(|event| event.is("reset_received", receiver)).expect("who was reset");
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

#[test]
fn the_story_is_told_from_both_ends() {
    let cluster = Cluster::start();
    let reset = aborted(&cluster);
    let end = reset.receiver.expect("the client").local.to_string();
    // Of the other end there is a story once its agent has read it.
    tests::wait::until("both ends", || {
        let output = run(&cluster, &["why", &end, "-o", "json"]);
        output.status.success()
            && Event::parse(&String::from_utf8_lossy(&output.stdout)).find("/ends/1").is_some()
    });
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
