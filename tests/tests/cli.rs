//! The program's commands on the live kernel, as a user meets them.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use tests::actor::Actor;
use tests::agent::command::{self, Running};
use tests::agent::event::Event;
use tests::agent::{agent, program};
use tests::link::{Family, Loss, Pair};
use tests::live;
use tests::scenes::actors::Actors;
use tests::scenes::{reset, retransmit};
use tests::tcp;

/// `tcpwhy tail` of one namespace, more arguments after it.
fn tail(inode: u64, more: &[&str]) -> Running {
    let socket = agent().socket().to_str().expect("a path of plain text");
    let netns = inode.to_string();
    let running = Running::start(&[&["tail", "--socket", socket, "--netns", &netns], more].concat());
    if !more.contains(&"json") {
        // Printed once the agent has answered.
        running.wait_for("header", |line| line.to_lowercase().contains("time"));
    }
    running
}

#[test]
fn tail_prints_one_line_for_each_resend_with_stage_and_rto() {
    live::each(|family| {
        let pair = Pair::without_probes();
        let tail = tail(pair.client.inode(), &["--event", "retransmit"]);
        let resent = retransmit::timeouts(&pair, family, 1);
        for (stage, rto) in [("#1", "rto 204ms"), ("#2", "rto 408ms")] {
            let line = tail.try_wait_for(|line| line.contains(stage))?;
            for word in ["retransmit timeout", rto] {
                assert!(line.contains(word), "no {word:?} in {line:?}");
            }
            for end in [resent.side.local, resent.side.remote] {
                assert!(line.contains(&end.to_string()), "no {end} in {line:?}");
            }
            assert!(line.contains(&std::process::id().to_string()), "no process in {line:?}");
        }
        Ok(())
    });
}

#[test]
fn tail_tells_a_refused_connect() {
    let pair = Pair::new();
    let tail = tail(pair.server.inode(), &[]);
    let reset = reset::no_socket(&pair, Family::V4);
    let line = tail.wait_for("the reset", |line| line.contains("reset sent"));
    assert!(line.contains("NO_SOCKET") && line.contains(&reset.sender.local.to_string()), "{line:?}");
}

#[test]
fn tail_as_json_speaks_the_schema() {
    live::insist(|| {
        let pair = Pair::without_probes();
        let tail = tail(pair.client.inode(), &["--output", "json", "--kind", "timeout"]);
        // JSON has no header: until the command is connected, resends are not seen, so let there be several.
        let resent = retransmit::timeouts(&pair, Family::V6, 3);
        let event = Event::parse(&tail.try_wait_for(|line| !line.is_empty())?);
        assert!(event.is("retransmit", resent.side), "{event:?}");
        assert_eq!(event.text("/retransmit/kind"), "timeout");
        Ok(())
    });
}

#[test]
fn tail_filters_by_process() {
    live::insist(|| {
        let pair = Pair::new();
        let mut actors = Actors::connected(&pair, Family::V4);
        let tail = tail(pair.client.inode(), &["--pid", &actors.client.pid().to_string()]);
        retransmit::tail_loss_probe(&pair, Family::V4);
        actors.client_resends(&pair);
        let first = tail.try_wait_for(|line| line.contains("retransmit"))?;
        assert!(first.contains("lab-actor"), "a line of another process passed: {first:?}");
        Ok(())
    });
}

#[test]
fn a_name_with_control_characters_stays_harmless() {
    live::insist(|| {
        let pair = Pair::new();
        let listener = tcp::listen(&pair.server, Family::V4, 8);
        let tail = tail(pair.client.inode(), &["--event", "retransmit"]);
        let to = tcp::local_address(&listener).to_string();
        let mut actor = Actor::start(&pair.client, &["connect", &to, "\u{1b}[2J\u{7}evil\n"]);
        actor.address("connected");
        pair.server.drop_incoming(&Loss::data().first(1));
        actor.order("send 1000");
        let line = tail.try_wait_for(|line| line.contains("evil"))?;
        assert!(line.contains("retransmit"), "the name broke the line: {line:?}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
        Ok(())
    });
}

#[test]
fn tail_ends_well_when_interrupted() {
    let pair = Pair::new();
    let tail = tail(pair.client.inode(), &[]);
    tail.signal(Signal::SIGINT);
    let (status, errors) = tail.end();
    assert_eq!((status.code(), errors.as_str()), (Some(0), ""));
}

#[test]
fn tail_ends_well_when_nobody_reads() {
    let pair = Pair::new();
    let mut command = Command::new(program());
    command.args(["tail", "--netns", &pair.client.inode().to_string(), "--socket"]).arg(agent().socket());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start tail");
    let mut header = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut header).expect("read its header");
    // The reader is gone; the next line finds nobody.
    retransmit::tail_loss_probe(&pair, Family::V4);
    let output = child.wait_with_output().expect("wait for tail");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn standalone_needs_no_agent() {
    live::insist(|| {
        let pair = Pair::without_probes();
        let netns = pair.client.inode().to_string();
        let tail = Running::start(&["tail", "--standalone", "--netns", &netns]);
        tail.wait_for("header", |line| line.to_lowercase().contains("time"));
        let resent = retransmit::timeouts(&pair, Family::V4, 1);
        let line = tail.try_wait_for(|line| line.contains("retransmit timeout"))?;
        assert!(line.contains(&resent.side.local.to_string()), "{line:?}");
        tail.signal(Signal::SIGINT);
        assert_eq!(tail.end().0.code(), Some(0));
        Ok(())
    });
}

#[test]
fn a_second_agent_on_the_same_socket_is_refused() {
    let socket = agent().socket().to_str().expect("a path of plain text");
    let output = command::run(&["agent", "--listen", "127.0.0.1:0", "--socket", socket]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains(socket), "the message names the socket: {errors}");
}

#[test]
fn an_unknown_flag_is_wrong_usage() {
    let output = command::run(&["tail", "--no-such-flag"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--no-such-flag"));
}
