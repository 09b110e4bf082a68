//! The agent's own life: its start, its end, and what is left of it.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use tests::agent::command::Running;
use tests::agent::{agent, folder};
use tests::link::{Family, Pair};
use tests::scenes::reset;
use tests::wait;

/// An agent of this test's own, beside the shared one.
fn start(socket: &Path) -> Running {
    let running = Running::start(&[
        "agent",
        "--listen",
        "127.0.0.1:0",
        "--socket",
        socket.to_str().expect("plain text"),
    ]);
    wait::until("the agent to listen", || UnixStream::connect(socket).is_ok());
    running
}

fn socket(name: &str) -> PathBuf {
    folder().join(name)
}

/// What `tcpwhy tail` says and how it ends, once its agent is gone.
fn tail(socket: &Path) -> Running {
    let tail = Running::start(&["tail", "--socket", socket.to_str().expect("plain text")]);
    tail.wait_for("header", |line| line.starts_with("TIME"));
    tail
}

#[test]
fn it_is_healthy_and_ready() {
    for path in ["/healthz", "/readyz"] {
        let body = agent().get(path);
        assert!(!body.is_empty(), "{path} says nothing");
    }
}

#[test]
fn its_probes_are_all_up() {
    let metrics = agent().metrics();
    for probe in ["retransmit", "synack_retransmit", "reset_sent", "reset_received", "state_changed"] {
        assert_eq!(metrics.sum("tcpwhy_probe_up", &[("probe", probe)]), Some(1.0), "{probe}");
    }
}

#[test]
fn sigterm_ends_it_well_and_its_readers_with_a_word() {
    let path = socket("term.sock");
    let agent = start(&path);
    let tail = tail(&path);
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.end().0.code(), Some(0));
    assert!(!path.exists(), "the socket file is left behind");
    let (status, errors) = tail.end();
    assert_eq!(status.code(), Some(1));
    assert!(errors.starts_with("tcpwhy: "), "{errors}");
}

#[test]
fn a_socket_file_left_by_a_killed_agent_is_in_nobodys_way() {
    let path = socket("killed.sock");
    let killed = start(&path);
    killed.signal(Signal::SIGKILL);
    assert_eq!(killed.end().0.code(), None);
    assert!(path.exists(), "a killed agent cannot remove its socket");
    let next = start(&path);
    next.signal(Signal::SIGTERM);
    assert_eq!(next.end().0.code(), Some(0));
}

#[test]
fn a_tail_that_follows_goes_on_with_the_next_agent() {
    let path = socket("follow.sock");
    let first = start(&path);
    let pair = Pair::new();
    let (socket, netns) = (path.to_str().expect("plain text"), pair.server.inode().to_string());
    let tail = Running::start(&["tail", "--follow", "--socket", socket, "--netns", &netns]);
    tail.wait_for("header", |line| line.starts_with("TIME"));
    let events_of = |tail: &Running| {
        let reset = reset::no_socket(&pair, Family::V4);
        let port = format!("{} ", reset.sender.remote);
        tail.wait_for("the reset", |line| line.contains(&port) && line.contains("reset sent"));
        port
    };
    let before = events_of(&tail);
    first.signal(Signal::SIGKILL);
    assert_eq!(first.end().0.code(), None);
    let next = start(&path);
    // Its socket is there before its probes are; whoever is answered comes after both.
    drop(self::tail(&path));
    // The next agent takes the reader in within a second or two, and sends it what it saw meanwhile.
    let after = events_of(&tail);
    tail.signal(Signal::SIGINT);
    next.signal(Signal::SIGTERM);
    assert_eq!(next.end().0.code(), Some(0));
    let (status, errors) = tail.end();
    assert_eq!(status.code(), Some(0), "{errors}");
    assert!(errors.contains("waiting for an agent") && errors.contains("an agent answers again"), "{errors}");
    assert_ne!(before, after);
}
