//! A recording of real events, replayed: no rights, no kernel.
//!
//! `data/trouble.rec` has two hosts in namespaces of their own: a connect to a closed port, a peer that is
//! silent for two timeouts, and a close with unread bytes. After a change of the records it is made anew by
//! `tests/tests/record.rs`, which causes these events and knows what is true of them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/trouble.rec");

fn replay(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpwhy"));
    command.arg("replay").args(args).env("TZ", "UTC").env_remove("TCPWHY_OUTPUT").stdin(Stdio::null());
    command.output().unwrap()
}

fn lines(args: &[&str]) -> Vec<Value> {
    let output = replay(args);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// An event in a few words, `-` for what it has not.
fn words(line: &Value) -> String {
    let word = |pointer| line.pointer(pointer).map_or("-".to_owned(), ToString::to_string).replace('"', "");
    ["/event", "/local/address", "/retransmit/stage", "/reset/reason", "/reset/unread_bytes"]
        .map(word)
        .join(" ")
}

#[test]
fn a_recording_tells_what_happened() {
    let lines = lines(&["-o", "json", "--no-diagnoses", RECORDING]);
    let printed: Vec<_> = lines.iter().filter(|line| line["event"] != "state_changed").map(words).collect();
    assert_eq!(
        printed,
        [
            "reset_sent 198.51.100.2 - NO_SOCKET -",
            "reset_received 198.51.100.1 - - -",
            "retransmit 198.51.100.1 1 - -",
            "retransmit 198.51.100.1 2 - -",
            "retransmit 198.51.100.1 3 - -",
            "reset_received 2001:db8::1 - - -",
            "reset_sent 2001:db8::2 - TCP_ABORT_ON_CLOSE 1000",
        ]
    );
}

/// A few stalls and one reset are no reason to change a host, and a recording says so each time alike.
#[test]
fn a_recording_advises_by_what_is_in_it() {
    let advise = |form| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tcpwhy"));
        command.args(["advise", "-o", form, RECORDING]).env_remove("TCPWHY_SOCKET").stdin(Stdio::null());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let (text, json) = (advise("text"), advise("json"));
    assert!(text.starts_with("Nothing to change."), "{text}");
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["advice"], Value::Array(Vec::new()));
    let looked_at = report["looked_at"].to_string();
    assert!(looked_at.contains("of history") && !looked_at.contains("no history"), "{looked_at}");
    assert_eq!((advise("text"), advise("json")), (text, json));
}

#[test]
fn filters_are_those_of_tail() {
    let address = ["--address", "198.51.100.0/24", "--no-diagnoses"];
    let lines = lines(&[&["-o", "json", "--event", "retransmit"], &address[..], &[RECORDING]].concat());
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|line| line["event"] == "retransmit"));
}

#[test]
fn the_causes_are_those_of_what_happened() {
    let lines = lines(&["-o", "json", "--diagnoses", RECORDING]);
    let causes: Vec<_> = lines.iter().map(|line| line["cause"].as_str().unwrap()).collect();
    assert_eq!(causes.first(), Some(&"connection_refused"), "{causes:?}");
    assert!(causes.contains(&"closed_with_unread_data"), "{causes:?}");
    assert!(lines.iter().any(|line| line["outlook"]["deadline"]["rule"] == "tcp_retries2"), "{lines:#?}");
}

#[test]
fn it_is_the_same_each_time() {
    let text = replay(&[RECORDING]).stdout;
    assert_eq!(text, replay(&[RECORDING]).stdout);
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("TIME (UTC)") && text.contains("retransmit timeout #3 rto 816ms"), "{text}");
}

#[test]
fn the_metrics_are_those_of_the_kernel() {
    let page = String::from_utf8(replay(&["--metrics", RECORDING]).stdout).unwrap();
    let sum = |family: &str, label: &str| {
        let lines = page.lines().filter(|line| line.starts_with(family) && line.contains(label));
        // Before the exemplar, if it has one.
        let values = lines.map(|line| line.split(" # ").next().unwrap().rsplit_once(' ').unwrap().1);
        values.map(|value| value.parse::<u64>().unwrap()).sum::<u64>()
    };
    assert_eq!(sum("tcpwhy_retransmits_total{", "timeout"), 3, "{page}");
    assert_eq!(sum("tcpwhy_resets_sent_total{", "NO_SOCKET"), 1, "{page}");
    assert_eq!(sum("tcpwhy_resets_sent_total{", ""), 2, "{page}");
    assert!(page.ends_with("# EOF\n"));
}

/// A file of this test's own, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("tcpwhy-replay-{name}-{}", std::process::id()));
        fs::write(&path, bytes).unwrap();
        Self(path)
    }

    /// What `replay` says; it must fail.
    fn refused(&self) -> String {
        let output = replay(&[self.0.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let sound = fs::read(RECORDING).unwrap();
    let mut damaged = sound.clone();
    damaged[200] ^= 1;
    for (name, bytes, words) in [
        ("cut", &sound[..sound.len() - 1], "ends at byte"),
        ("damaged", &damaged, "damaged bytes at byte 64"),
        ("text", b"tcpwhy", "not a recording of tcpwhy"),
        ("short", &sound[..40], "ends after 40 bytes, before its first block"),
        ("empty", b"", "ends after 0 bytes"),
    ] {
        let printed = Scratch::new(name, bytes).refused();
        assert!(printed.contains(words), "{name}: {printed}");
    }
    let absent = replay(&["/nonexistent.rec"]);
    assert_eq!(absent.stdout, b"");
    assert!(String::from_utf8(absent.stderr).unwrap().contains("read /nonexistent.rec: No such file"));
}

#[test]
fn no_metrics_come_of_a_file_that_cannot_be_read() {
    let text = Scratch::new("no-metrics", b"tcpwhy");
    for file in ["/nonexistent.rec", text.0.to_str().unwrap()] {
        let output = replay(&["--metrics", file]);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), b"".as_slice()), "{file}");
    }
}
