//! Diagnoses at an OTLP receiver: as log records, again after a failure, and counted when they are lost.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;
use tests::agent::{self, Agent};
use tests::link::{Family, Pair};
use tests::scenes::reset;
use tests::wait::{self, PATIENCE};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Head and body.
type Request = (String, ExportLogsServiceRequest);
type Heard = Sender<Request>;

/// A receiver that answers with these statuses, then with 200.
struct Collector {
    url: String,
    requests: Receiver<Request>,
}

/// A key, and a certificate of `localhost` that it has signed itself.
struct Identity {
    key: PathBuf,
    certificate: PathBuf,
}

impl Identity {
    fn new(name: &str) -> Self {
        let file = |suffix| agent::folder().join(format!("{name}.{suffix}"));
        let (key, certificate) = (file("key"), file("crt"));
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]);
        command.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]);
        command.args(["-addext", "basicConstraints=critical,CA:FALSE", "-days", "1", "-keyout"]);
        let output = command.arg(&key).arg("-out").arg(&certificate).output().expect("start openssl");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        Self { key, certificate }
    }

    fn server(&self) -> Arc<ServerConfig> {
        let certificate = CertificateDer::from_pem_file(&self.certificate).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(&self.key).expect("a key");
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
        Arc::new(config.expect("a certificate of the key"))
    }

    fn certificate(&self) -> &str {
        self.certificate.to_str().expect("plain text")
    }
}

impl Collector {
    fn answering(statuses: &[&'static str]) -> Self {
        let statuses = statuses.to_vec();
        let mut statuses = statuses.into_iter().chain(std::iter::repeat("200 OK"));
        let answer = move |stream, sender: &_| answer(stream, statuses.next().expect("one more"), sender);
        let (port, requests) = Self::start(answer);
        Self { url: format!("http://127.0.0.1:{port}"), requests }
    }

    /// One that speaks TLS, and proves that it is `localhost`.
    fn encrypted(identity: &Identity) -> Self {
        let config = identity.server();
        let answer = move |stream: TcpStream, sender: &_| {
            let server = ServerConnection::new(Arc::clone(&config)).expect("begin with TLS");
            answer(StreamOwned::new(server, stream), "200 OK", sender);
        };
        let (port, requests) = Self::start(answer);
        Self { url: format!("https://localhost:{port}"), requests }
    }

    /// Its thread ends with the test process.
    fn start(mut answer: impl FnMut(TcpStream, &Heard) + Send + 'static) -> (u16, Receiver<Request>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen on loopback");
        let port = listener.local_addr().expect("its address").port();
        let (sender, requests) = mpsc::channel();
        thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, &sender)));
        (port, requests)
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

fn answer(stream: impl Read + Write, status: &str, sender: &Heard) {
    let mut reader = BufReader::new(stream);
    let (mut head, mut line) = (String::new(), String::new());
    // Who does not trust the certificate says no more.
    while reader.read_line(&mut line).unwrap_or(0) > 2 {
        head += &std::mem::take(&mut line).to_ascii_lowercase();
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let Some(length) = length else { return };
    let mut body = vec![0; length.trim().parse().expect("a number")];
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

#[test]
fn over_tls_it_is_named_by_dns_and_proved_by_its_certificate() {
    let [trusted, other] = ["trusted", "other"].map(Identity::new);
    let collector = Collector::encrypted(&trusted);
    let start = |name, identity: &Identity| {
        let certificates = ["--otlp", &collector.url, "--otlp-certificates", identity.certificate()];
        Agent::start(name, &certificates)
    };
    let doubting = start("doubting", &other);
    let pair = Pair::new();
    let lost = reset::abort_on_close(&pair, Family::V4, 100);
    wait::until("it to doubt the certificate", || doubting.said("invalid peer certificate"));
    assert!(collector.requests.try_recv().is_err(), "nothing is sent to who proves nothing");
    drop(lost);

    start("trusting", &trusted);
    let reset = reset::abort_on_close(&pair, Family::V4, 100);
    let (head, record, _) = collector.record(reset.sender.local.port());
    assert!(head.contains("host: localhost:"), "{head}");
    assert_eq!(text(&record.attributes, "tcpwhy.cause"), "closed_with_unread_data");
}
