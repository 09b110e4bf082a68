use std::collections::BTreeSet;

use agent_common::signal::{Hook, Probe};
use agent_model::event::{Detail, Fact, HostFacts};
use agent_model::signals::ResetSent;
use agent_model::words::EventWord;
use proptest::prelude::*;
use serde_json::Value;

use super::{Item, Line, LineError, file, sample};

const SCHEMA: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schema.md"));

fn json(observed: &agent_correlate::observed::Observed) -> Value {
    let text = Item::from(Line::new(observed, sample::HZ)).to_json();
    assert!(text.ends_with('\n') && text.matches('\n').count() == 1);
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_timeout_tells_stage_and_rto() {
    let line = json(&sample::timeout());
    assert_eq!(line["v"], 1);
    assert_eq!(line["time"], "2026-11-22T00:41:03.123456789Z");
    assert_eq!(line["event"], "retransmit");
    assert_eq!(line["connection"], "2a");
    assert_eq!(line["local"], serde_json::json!({"address": "198.51.100.1", "port": 40000}));
    assert_eq!(line["process"], serde_json::json!({"pid": 4711, "comm": "curl", "source": "connect"}));
    assert_eq!(
        line["retransmit"],
        serde_json::json!({"kind": "timeout", "stage": 3, "rto_ms": 1632, "err": 0, "segments": 1,
            "seq": 1000, "end_seq": 1032, "flags": "ACK,PSH"})
    );
    assert_eq!(line["totals"]["segments"], serde_json::json!({"timeout": 3, "tail_loss_probe": 1}));
}

#[test]
fn jiffies_become_milliseconds() {
    let tcp = &json(&sample::timeout())["tcp"];
    assert_eq!(tcp["rto_ms"], 1632);
    assert_eq!(tcp["timer"], "retransmit");
    assert_eq!(tcp["timer_in_ms"], 3264);
    assert_eq!(tcp["last_ack_ms"], 4000);
    assert_eq!(tcp["srtt_us"], 200);
    assert_eq!(json(&sample::timeout())["settings"]["keepalive_time_ms"], 7_200_000);
}

#[test]
fn what_an_event_cannot_have_is_left_out() {
    let line = json(&sample::no_socket());
    for absent in ["connection", "cgroup", "uid", "state", "process", "current", "tcp", "totals", "protocol"]
    {
        assert_eq!(line.get(absent), None, "{absent}");
    }
    assert_eq!(
        line["reset"],
        serde_json::json!({"reason": "NO_SOCKET", "active": false, "listening": false,
            "trigger": {"flags": "SYN", "seq": 1, "ack": 0, "len": 0}})
    );
}

#[test]
fn an_unnamed_reason_is_a_number_and_an_absent_one_absent() {
    let mut observed = sample::no_socket();
    observed.reason = None;
    assert_eq!(json(&observed)["reset"]["reason"], "1");
    let bare = ResetSent { reason: None, stack: None, trigger: None, exit: None };
    observed.event.detail = Detail::ResetSent(bare);
    assert_eq!(json(&observed)["reset"].get("reason"), None);
}

#[test]
fn missed_is_reported() {
    assert_eq!(Item::missed(12).to_json(), "{\"v\":1,\"event\":\"missed\",\"count\":12}\n");
    assert_eq!(Item::parse(Item::missed(12).to_json().as_bytes()).unwrap(), Item::missed(12));
}

#[test]
fn every_signal_has_a_sample() {
    let words: BTreeSet<_> = sample::all().iter().map(|one| EventWord::of(&one.event.detail)).collect();
    assert_eq!(words, EventWord::ALL.iter().copied().collect());
}

#[test]
fn every_line_reads_back() {
    for observed in sample::all() {
        let item = Item::from(Line::new(&observed, sample::HZ));
        assert_eq!(Item::parse(item.to_json().as_bytes()).unwrap(), item);
    }
}

#[test]
fn another_version_is_refused_by_name() {
    let error = Item::parse(br#"{"v":2,"event":"retransmit"}"#).unwrap_err();
    assert!(matches!(error, LineError::Version(2)), "{error}");
    assert!(matches!(Item::parse(b"{").unwrap_err(), LineError::Json(_)));
}

#[test]
fn a_line_says_what_it_is_in_any_place_and_spelling() {
    for line in
        [r#"{"count":7,"event":"missed","new":[{}],"v":1}"#, r#"{"v":1,"event":"m\u0069ssed","count":7}"#]
    {
        assert_eq!(Item::parse(line.as_bytes()).unwrap(), Item::missed(7), "{line}");
    }
}

#[test]
fn what_is_wrong_with_a_line_is_wrong_with_all_of_it() {
    let error = |line: &str| match Item::parse(line.as_bytes()).unwrap_err() {
        LineError::Json(error) => error.to_string(),
        LineError::Version(version) => panic!("version {version}"),
    };
    assert_eq!(error(r#"{"v":1,"event":"missed"}"#), "missing field `count` at line 1 column 24");
    assert_eq!(error(r#"{"v":1,"event":"missed"} x"#), "trailing characters at line 1 column 26");
    assert_eq!(error(r#"{"v":2,"event":"missed","#), "EOF while parsing a value at line 1 column 24");
    assert_eq!(error("[1,2]"), "invalid type: integer `2`, expected a string at line 1 column 4");
}

#[test]
fn control_characters_are_escaped_in_json_too() {
    let mut observed = sample::timeout();
    let comm = "\u{1b}]0;x\u{7}\u{9b}\u{202e}\u{10ffff}é";
    observed.owner.as_mut().unwrap().process.comm = comm.into();
    let text = Item::from(Line::new(&observed, sample::HZ)).to_json();
    assert!(text.contains(r"\u001b]0;x\u0007\u009b\u202e\udbff\udfffé"), "{text}");
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["process"]["comm"], comm);
}

proptest! {
    #[test]
    fn no_input_panics_the_reader(line in any::<Vec<u8>>()) {
        drop(Item::parse(&line));
    }

    #[test]
    fn no_socket_state_panics_the_writer(hz in any::<u32>(), realtime in any::<i64>(), word in any::<u8>()) {
        let mut observed = sample::timeout();
        observed.realtime = realtime;
        let tcp = observed.event.tcp.as_mut().unwrap();
        let byte = u32::from_ne_bytes([word; 4]);
        (tcp.raw.rto, tcp.raw.rcv_nxt, tcp.raw.rcv_tstamp) = (byte, byte, byte);
        (tcp.raw.timer_expires, tcp.raw.pending, tcp.raw.ca_state) = (u64::from(byte), word, word);
        tcp.raw.err = byte.cast_signed();
        let item = Item::from(Line::new(&observed, hz));
        prop_assert_eq!(Item::parse(item.to_json().as_bytes()).unwrap(), item);
    }
}

/// Paths of all leaves; the map of kinds counts as one.
fn paths(prefix: &str, value: &Value, into: &mut BTreeSet<String>) {
    let Value::Object(map) = value else {
        into.insert(prefix.to_owned());
        return;
    };
    if prefix == "totals.segments" {
        into.insert(prefix.to_owned());
        return;
    }
    for (key, value) in map {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        paths(&path, value, into);
    }
}

/// Lines in which every field of the schema is there at least once.
fn full() -> Vec<Value> {
    let mut error = sample::timed_out();
    error.event.current = sample::abort_on_close().event.current;
    let events = sample::all().into_iter().chain([error, sample::oom_killed()]);
    let others = [serde_json::to_value(missed()).unwrap(), diagnosis(), serde_json::to_value(gap()).unwrap()];
    events.map(|observed| json(&observed)).chain(others).collect()
}

fn diagnosis() -> Value {
    let item = Item::from(super::Diagnosis::new(&sample::diagnosed()));
    let text = item.to_json();
    assert_eq!(Item::parse(text.as_bytes()).unwrap(), item);
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_diagnosis_tells_cause_and_deadline() {
    let line = diagnosis();
    assert_eq!((&line["event"], &line["cause"]), (&"diagnosis".into(), &"retransmission_timeout".into()));
    assert_eq!(line["outlook"]["deadline"]["rule"], "tcp_retries2");
    assert_eq!(line["outlook"]["deadline"]["earliest"], "2026-11-22T00:56:00.000000000Z");
    assert_eq!(line["outlook"]["next_rto_ms"], 6528);
    assert_eq!(line["evidence"][1]["certainty"], "inferred");
}

fn gap() -> super::Gap {
    let fact = Fact::Coalesced {
        signal: "reset_received".into(),
        detail: 2,
        cgroup: 7,
        netns: 9,
        port: 80,
        count: 5,
    };
    super::Gap::of(&fact, &HostFacts::default()).unwrap()
}

#[test]
fn what_has_no_line_is_reported() {
    let item = Item::from(gap());
    assert_eq!(
        item.to_json(),
        "{\"v\":1,\"event\":\"coalesced\",\"signal\":\"reset_received\",\"count\":5,\"netns\":9,\"cgroup\":7,\
         \"port\":80,\"detail\":\"SYN_SENT\"}\n"
    );
    assert_eq!(Item::parse(item.to_json().as_bytes()).unwrap(), item);
    let lost = Fact::Lost { signal: "retransmit".into(), count: 3 };
    let lost = Item::from(super::Gap::of(&lost, &HostFacts::default()).unwrap());
    assert_eq!(lost.to_json(), "{\"v\":1,\"event\":\"lost\",\"signal\":\"retransmit\",\"count\":3}\n");
}

fn missed() -> super::Missed {
    super::Missed { v: super::VERSION, event: super::MissedWord::Missed, count: 1 }
}

#[test]
fn the_schema_file_is_that_of_the_types() {
    file::check::<Item>("events");
}

#[test]
fn the_schema_page_tells_every_signal_with_its_hook() {
    let chapter = SCHEMA.split("\n## ").find(|chapter| chapter.starts_with("Every event")).unwrap();
    let table = chapter.split("\n\n").find(|table| table.contains("kernel tracepoint")).unwrap();
    let rows = table.lines().skip(2).map(|row| row.trim_matches('|').split('|').map(str::trim));
    let described: Vec<_> =
        rows.map(|mut cells| (cells.next().unwrap(), cells.next_back().unwrap())).collect();
    assert_eq!(described.iter().map(|(word, _)| *word).collect::<Vec<_>>(), EventWord::WORDS);
    for (word, hook) in described {
        let Hook::Tracepoint(name) = Probe::named(word).unwrap().hook else { panic!("{word}") };
        assert_eq!(hook.split('`').nth(1), Some(name), "{word}");
    }
}

#[test]
fn the_schema_page_tells_every_field_and_no_other() {
    let mut written = BTreeSet::new();
    for line in full() {
        paths("", &line, &mut written);
    }
    // Reports of other commands are chapters of their own.
    let stream = SCHEMA.split("\n# ").next().unwrap();
    let named = stream.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let named: BTreeSet<String> = named.map(|(path, _)| path.to_owned()).collect();
    assert_eq!(named.difference(&written).collect::<Vec<_>>(), Vec::<&String>::new(), "only on the page");
    assert_eq!(written.difference(&named).collect::<Vec<_>>(), Vec::<&String>::new(), "not on the page");
}
