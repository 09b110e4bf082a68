//! Advice from what really happened: stalls that recovered and connections that died.

use std::process::{Command, Stdio};

use serde_json::Value;
use tests::agent::{Agent, agent, command, folder, program};
use tests::link::{Family, Pair};
use tests::live;
use tests::scenes::{death, retransmit};

/// What `tcpwhy advise` says of one network namespace.
fn advise(netns: u64, output: &str) -> String {
    let socket = agent().socket().to_str().expect("a path of plain text");
    let netns = netns.to_string();
    let answer = command::run(&["advise", "--socket", socket, "--netns", &netns, "-o", output]);
    assert!(answer.status.success(), "{answer:?}");
    String::from_utf8(answer.stdout).expect("plain text")
}

fn report(netns: u64) -> Value {
    serde_json::from_str(&advise(netns, "json")).expect("a report")
}

/// Of a namespace, whatever the host's own counters say.
fn of_namespace(report: &Value) -> Vec<&Value> {
    let all = report["advice"].as_array().expect("advice");
    all.iter().filter(|advice| advice.get("netns").is_some()).collect()
}

#[test]
fn a_namespace_whose_lowered_retries_killed_is_advised_to_raise_them() {
    agent();
    live::insist(|| {
        let pair = Pair::without_probes();
        let recovered = retransmit::timeouts(&pair, Family::V4, 2);
        drop(recovered);
        let died = death::silence(&pair, Family::V4, 2);
        let netns = pair.client.inode();
        let answer = report(netns);
        let looked_at = answer["looked_at"].to_string();
        if !looked_at.contains("1 recovered stall, 1 death") {
            return Err(live::Silent);
        }
        let advice = of_namespace(&answer);
        let [advice] = advice[..] else { panic!("{answer:#}") };
        assert_eq!((&advice["setting"], &advice["netns"]), (&"net.ipv4.tcp_retries2".into(), &netns.into()));
        assert_eq!((&advice["now"], &advice["proposed"]), (&"2".into(), &"8".into()));
        let text = |field: &str| advice[field].as_str().expect("a text").to_owned();
        // The kernel's own time, to a tenth of a second or two.
        let lived = seconds_after(&text("observation"), "after ");
        let truth = died.after.as_secs_f64();
        assert!((lived - truth).abs() < 0.5, "{lived} s reported, {truth} s in truth: {advice:#}");
        // From an RTO of 204 ms, or a little more: the first timeout past T(8).
        let would = seconds_after(&text("effect"), "given the peers ");
        assert!((102.0..120.0).contains(&would), "{advice:#}");
        assert!(text("effect").contains("the one recovery came at stage"), "{advice:#}");
        assert!(text("command").starts_with("nsenter "), "{advice:#}");
        assert!(text("command").ends_with("sysctl -w net.ipv4.tcp_retries2=8"), "{advice:#}");
        assert!(advise(netns, "text").contains("net.ipv4.tcp_retries2: 2 -> 8\n"));
        Ok(())
    });
}

/// The number after some words.
fn seconds_after(text: &str, words: &str) -> f64 {
    let (_, rest) = text.split_once(words).unwrap_or_else(|| panic!("no {words:?} in {text}"));
    rest.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn a_recording_of_an_agent_advises_as_the_agent_did() {
    live::insist(|| {
        let file = folder().join("advise.rec");
        let path = file.to_str().expect("a path of plain text");
        let _ = std::fs::remove_file(&file);
        let own = Agent::start("advise", &["--record", path]);
        let pair = Pair::without_probes();
        drop(retransmit::timeouts(&pair, Family::V4, 2));
        let _died = death::silence(&pair, Family::V4, 2);
        let netns = pair.client.inode().to_string();
        let ask = |more: &[&str]| {
            let answer = command::run(&[&["advise", "--netns", &netns, "-o", "json"], more].concat());
            assert!(answer.status.success(), "{answer:?}");
            serde_json::from_slice::<Value>(&answer.stdout).expect("a report")
        };
        let live = ask(&["--socket", own.socket().to_str().expect("a path of plain text")]);
        assert!(own.end().success());
        let replayed = ask(&[path]);
        if !live["looked_at"].to_string().contains("1 recovered stall, 1 death") {
            return Err(live::Silent);
        }
        let [answer, again] = [&live, &replayed].map(|report| of_namespace(report)[0]);
        for field in ["setting", "now", "proposed", "observation", "effect", "risk"] {
            assert_eq!(answer[field], again[field], "{field}");
        }
        assert_eq!(answer["setting"], "net.ipv4.tcp_retries2");
        Ok(())
    });
}

/// Of a fresh namespace, with no agent to ask: all that is to be seen are its own counters and the host's.
#[test]
fn nothing_to_change_is_said_where_it_is_so() {
    let pair = Pair::new();
    let mut command = Command::new(program());
    command.args(["advise"]).env_remove("TCPWHY_SOCKET").env("XDG_RUNTIME_DIR", folder());
    let answer = pair.client.start(command.stdout(Stdio::piped())).wait_with_output().expect("run advise");
    let text = String::from_utf8(answer.stdout).expect("plain text");
    assert!(answer.status.success() && text.starts_with("Nothing to change."), "{text}");
    assert!(text.contains("no history"), "{text}");
}

#[test]
fn an_untouched_namespace_has_nothing_to_change() {
    let pair = Pair::new();
    let answer = report(pair.client.inode());
    assert!(of_namespace(&answer).is_empty(), "{answer:#}");
    assert!(answer["looked_at"].to_string().contains("of history"), "{answer:#}");
}
