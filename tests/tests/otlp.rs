//! Diagnoses at an OTLP receiver: as log records, again after a failure, and counted when they are lost.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;
use tests::agent::Agent;
use tests::link::{Family, Pair};
use tests::scenes::reset;
use tests::wait::{self, PATIENCE};

/// A receiver that answers with these statuses, then with 200.
struct Collector {
    url: String,
    requests: Receiver<(String, ExportLogsServiceRequest)>,
}

impl Collector {
    fn answering(statuses: &[&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen on loopback");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let (sender, requests) = mpsc::channel();
        let statuses = statuses.to_vec();
        // Ends with the test process.
        thread::spawn(move || {
            let statuses = statuses.into_iter().chain(std::iter::repeat("200 OK"));
            for (stream, status) in listener.incoming().flatten().zip(statuses) {
                answer(stream, status, &sender);
            }
        });
        Self { url, requests }
    }

    /// The next record of this connection's diagnosis, and the head of its request.
    fn record(&self, port: u16) -> (String, LogRecord, Vec<KeyValue>) {
        loop {
            let (head, request) = self.requests.recv_timeout(PATIENCE).expect("a request");
            let logs = request.resource_logs.into_iter().next().expect("logs");
            let records = logs.scope_logs.into_iter().flat_map(|scope| scope.log_records);
            let of_port =
                |record: &LogRecord| int(&record.attributes, "network.local.port") == Some(i64::from(port));
            if let Some(record) = records.into_iter().find(of_port) {
                return (head, record, logs.resource.expect("a resource").attributes);
            }
        }
    }
}

fn answer(stream: TcpStream, status: &str, sender: &Sender<(String, ExportLogsServiceRequest)>) {
    let mut reader = BufReader::new(stream);
    let (mut head, mut line) = (String::new(), String::new());
    while reader.read_line(&mut line).expect("read a request") > 2 {
        head += &std::mem::take(&mut line).to_ascii_lowercase();
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.expect("a length").trim().parse().expect("a number")];
    reader.read_exact(&mut body).expect("read a body");
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    // The agent may have ended.
    let _ = reader.get_mut().write_all(answer.as_bytes());
    if status.starts_with("200") {
        let request = ExportLogsServiceRequest::decode(&body[..]).expect("protobuf");
        // The test may have ended.
        let _ = sender.send((head, request));
    }
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|one| one.key == key)?.value.as_ref()?.value.as_ref()
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> &'a str {
    match value(attributes, key) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{key} is {other:?} in {attributes:?}"),
    }
}

fn int(attributes: &[KeyValue], key: &str) -> Option<i64> {
    match value(attributes, key) {
        Some(Value::IntValue(number)) => Some(*number),
        _ => None,
    }
}

fn outcome(agent: &Agent, outcome: &str) -> Option<f64> {
    agent.metrics().sum("tcpwhy_otlp_records_total", &[("outcome", outcome)])
}

#[test]
fn a_diagnosis_arrives_though_the_receiver_was_away() {
    let collector = Collector::answering(&["503 Service Unavailable"]);
    let headers = "authorization=Bearer abc";
    let agent = Agent::start("otlp", &["--otlp", &collector.url, "--otlp-headers", headers]);
    let pair = Pair::new();
    let reset = reset::abort_on_close(&pair, Family::V4, 100);
    let (head, record, resource) = collector.record(reset.sender.local.port());
    assert!(head.starts_with("post /v1/logs http/1.1"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    assert!(head.contains("authorization: bearer abc"), "{head}");
    assert_eq!(text(&resource, "service.name"), "tcpwhy");
    let of = &record.attributes;
    assert_eq!(text(of, "tcpwhy.cause"), "closed_with_unread_data");
    assert_eq!(text(of, "tcpwhy.phase"), "died");
    assert!(text(of, "network.community_id").starts_with("1:"));
    assert_eq!(text(of, "tcpwhy.connection.shared_id").len(), 16);
    assert_eq!(text(of, "network.peer.address"), reset.sender.remote.ip().to_string());
    assert_eq!(int(of, "process.pid"), Some(i64::from(std::process::id())));
    assert!(matches!(&record.body, Some(AnyValue { value: Some(Value::StringValue(_)) })), "{record:?}");
    assert_eq!(record.severity_text, "ERROR");
    assert!(record.time_unix_nano > 0 && record.time_unix_nano <= record.observed_time_unix_nano);
    wait::until("the count", || outcome(&agent, "sent") >= Some(1.0));
    assert_eq!(outcome(&agent, "refused"), Some(0.0));
}

#[test]
fn what_the_receiver_refuses_is_counted() {
    let collector = Collector::answering(&["400 Bad Request"]);
    let agent = Agent::start("refused", &["--otlp", &collector.url]);
    reset::abort_on_close(&Pair::new(), Family::V4, 100);
    wait::until("the loss to be counted", || outcome(&agent, "refused") >= Some(1.0));
    wait::until("it to be said", || agent.said("it answers 400 Bad Request"));
}

#[test]
fn at_the_end_what_waits_is_sent() {
    let collector = Collector::answering(&[]);
    let agent = Agent::start("ending", &["--otlp", &collector.url]);
    let pair = Pair::new();
    let tail = agent.tail(&pair.server);
    let reset = reset::abort_on_close(&pair, Family::V4, 100);
    tail.wait_for("the diagnosis", |event| event.name() == "diagnosis");
    assert!(agent.end().success());
    collector.record(reset.sender.local.port());
}
