//! What the program writes is what docs/schema says, in the judgement of another implementation of JSON Schema.

use std::collections::BTreeSet;
use std::env;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tests::agent::{agent, command};
use tests::link::{Family, Loss, Pair};
use tests::scenes::reset;
use tests::tcp::{self, Connection};
use tests::wait;

const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../agent/tests/data/trouble.rec");
const SCHEMAS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schema");

/// Takes a schema's name and a value a line, and says what is wrong with it, or nothing, a line too. Readers must bear
/// fields that they do not know; the program may write none that its schema does not name.
const VALIDATE: &str = "import json, sys
from jsonschema import Draft202012Validator as Validator
from jsonschema.exceptions import best_match

def close(schema):
    if isinstance(schema, dict):
        if 'properties' in schema:
            schema.setdefault('additionalProperties', False)
        for part in schema.values():
            close(part)
    elif isinstance(schema, list):
        for part in schema:
            close(part)

def validator(name):
    schema = json.load(open(f'{sys.argv[1]}/{name}.json'))
    Validator.check_schema(schema)
    close(schema)
    return Validator(schema, format_checker=Validator.FORMAT_CHECKER)

validators = {}
for line in sys.stdin:
    name, value = line.split(' ', 1)
    if name not in validators:
        validators[name] = validator(name)
    error = best_match(validators[name].iter_errors(json.loads(value)))
    print(f'{name}: {error.json_path}: {error.message}' if error else '')
";

/// What is wrong with each of these values, which are to be as the schema beside them has it; empty if nothing.
fn complaints(values: &[(&str, &str)]) -> Vec<String> {
    let python = env::var_os("TCPWHY_PYTHON").expect("TCPWHY_PYTHON (cargo xtask test sets it)");
    let mut validator = Command::new(python);
    validator.args(["-c", VALIDATE, SCHEMAS]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = validator.spawn().expect("start the validator");
    let mut stdin = child.stdin.take().expect("its standard input");
    let lines: Vec<_> = values.iter().map(|(name, value)| format!("{name} {}", value.trim())).collect();
    // Its answers fit a pipe: nobody waits for anybody.
    writeln!(stdin, "{}", lines.join("\n")).expect("feed it");
    drop(stdin);
    let output = child.wait_with_output().expect("wait for it");
    assert!(output.status.success(), "{output:?}");
    let complaints: Vec<_> =
        String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect();
    assert_eq!(complaints.len(), values.len(), "{complaints:?}");
    complaints
}

fn assert_valid(values: &[(&str, &str)]) {
    assert_eq!(complaints(values), vec![""; values.len()]);
}

fn output(arguments: &[&str]) -> String {
    String::from_utf8(command::run(arguments).stdout).expect("text")
}

fn replayed() -> String {
    output(&["replay", "-o", "json", RECORDING])
}

#[test]
fn the_lines_of_the_stored_recording_are_valid() {
    let lines = replayed();
    let word = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["event"].to_string();
    let words: BTreeSet<_> = lines.lines().map(word).collect();
    let expected = ["diagnosis", "reset_received", "reset_sent", "retransmit", "state_changed"];
    assert_eq!(words, expected.map(|word| format!("\"{word}\"")).into());
    assert_valid(&lines.lines().map(|line| ("events", line)).collect::<Vec<_>>());
}

/// The validator would see a field too many, too few, of another type, or null.
#[test]
fn lines_that_are_not_of_the_schema_are_refused() {
    let lines = replayed();
    let line: Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
    let changes: [fn(&mut Value); 5] = [
        |line| line["unheard_of"] = json!(1),
        |line| drop(line.as_object_mut().expect("an object").remove("monotonic_ns")),
        |line| line["netns"] = json!("4026531840"),
        |line| line["event"] = json!("unheard_of"),
        |line| line["connection"] = Value::Null,
    ];
    let wrong = changes.map(|change| {
        let mut line = line.clone();
        change(&mut line);
        line.to_string()
    });
    let complaints = complaints(&wrong.each_ref().map(|line| ("events", line.as_str())));
    for (line, complaint) in wrong.iter().zip(complaints) {
        assert_ne!(complaint, "", "{line}");
    }
}

/// A connection that stalls, and one that died.
#[test]
fn the_answers_of_a_live_agent_are_valid() {
    let socket = agent().socket().to_str().expect("a path of plain text");
    let pair = Pair::without_probes();
    let reset = reset::abort_on_close(&pair, Family::V4, 100).sender.local;
    let connection = Connection::open(&pair, Family::V4);
    let local = connection.client_side.local;
    pair.server.drop_incoming(&Loss::all());
    tcp::send(&connection.client, 100);
    let top = wait::some("the stall to be reported", || {
        Some(agent().query("/v1/top")).filter(|top| top.contains(&format!("\"port\":{}", local.port())))
    });
    let query = |path: &str| agent().query(path);
    let (dead, alive) = (query(&format!("/v1/why?end={reset}")), query(&format!("/v1/why?end={local}")));
    let (status, families, gathered) = (query("/v1/status"), query("/v1/families"), query("/v1/advise"));
    let (advice, check) =
        (output(&["advise", "--socket", socket, "-o", "json"]), output(&["check", "-o", "json"]));
    assert_valid(&[
        ("top", &top),
        ("why", &dead),
        ("why", &alive),
        ("status", &status),
        ("families", &families),
        ("advise", &gathered),
        ("advice", &advice),
        ("check", &check),
    ]);
}
