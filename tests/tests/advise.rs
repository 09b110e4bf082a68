//! Advice from what really happened: stalls that recovered and connections that died.

use serde_json::Value;
use tests::agent::{agent, command};
use tests::link::{Family, Pair};
use tests::live;
use tests::scenes::{death, retransmit};

/// What `tcpwhy advise` says of one network namespace.
fn advise(netns: u64, output: &str) -> String {
    let socket = agent().socket().to_str().expect("a path of plain text");
    let netns = netns.to_string();
    let told = command::run(&["advise", "--socket", socket, "--netns", &netns, "-o", output]);
    assert!(told.status.success(), "{told:?}");
    String::from_utf8(told.stdout).expect("plain text")
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
        let told = report(netns);
        let looked_at = told["looked_at"].to_string();
        if !looked_at.contains("1 recovered stall, 1 death") {
            return Err(live::Silent);
        }
        let advice = of_namespace(&told);
        let [advice] = advice[..] else { panic!("{told:#}") };
        assert_eq!((&advice["setting"], &advice["netns"]), (&"net.ipv4.tcp_retries2".into(), &netns.into()));
        assert_eq!((&advice["now"], &advice["proposed"]), (&"2".into(), &"8".into()));
        let text = |field: &str| advice[field].as_str().expect("a text").to_owned();
        // The kernel's own time, to a tenth of a second or two.
        let lived = seconds_after(&text("observation"), "after ");
        let truth = died.after.as_secs_f64();
        assert!((lived - truth).abs() < 0.5, "{lived} s told, {truth} s in truth: {advice:#}");
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
fn an_untouched_namespace_has_nothing_to_change() {
    let pair = Pair::new();
    let told = report(pair.client.inode());
    assert!(of_namespace(&told).is_empty(), "{told:#}");
    assert!(told["looked_at"].to_string().contains("of history"), "{told:#}");
}
