use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_advise::Gathered;
use agent_diagnose::families::Listing;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;

use super::{Bound, Servers, Services};
use crate::answers::top::Top;
use crate::answers::why::WhyReport;
use crate::metrics::Metrics;
use crate::metrics::tests::{busy, host};
use crate::schema::{file, sample};
use crate::serve::api::Status;
use crate::serve::feed::Feed;

const ANY_PORT: &str = "127.0.0.1:0";
const SOON: Duration = Duration::from_secs(10);

/// A directory of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tcpwhy-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("tcpwhy.sock")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

async fn bind(scratch: &Scratch) -> Result<Bound, super::BindError> {
    Bound::bind(ANY_PORT.parse().unwrap(), &scratch.socket()).await
}

async fn start(scratch: &Scratch) -> (Servers, Feed) {
    let (feed, fake) = (Feed::new(8), Arc::new(busy()));
    let metrics =
        Arc::new(Metrics::new(Arc::clone(&fake) as _, Arc::clone(&fake) as _, feed.clone(), host()));
    let services = Services { metrics, feed: feed.clone(), host: host(), answers: fake };
    (bind(scratch).await.unwrap().serve(&services), feed)
}

async fn ask(scratch: &Scratch, path: &str) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(scratch.socket()).await.unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    BufReader::new(stream)
}

/// Reads lines until one holds `part`.
async fn line_with(stream: &mut BufReader<UnixStream>, part: &str) -> String {
    let search = async {
        loop {
            let mut line = String::new();
            assert_ne!(stream.read_line(&mut line).await.unwrap(), 0, "the end came before {part}");
            if line.contains(part) {
                return line;
            }
        }
    };
    timeout(SOON, search).await.unwrap_or_else(|_| panic!("no {part}"))
}

#[tokio::test]
async fn a_stream_tells_what_its_filter_takes_and_ends_with_the_agent() {
    let scratch = Scratch::new("stream");
    let (servers, feed) = start(&scratch).await;
    let mut stream = ask(&scratch, "/v1/events?port=81").await;
    line_with(&mut stream, "200 OK").await;
    line_with(&mut stream, "application/x-ndjson").await;
    feed.publish(Arc::new(sample::timeout()));
    feed.publish(Arc::new(sample::no_socket()));
    let line = line_with(&mut stream, "\"event\":").await;
    assert!(line.contains("NO_SOCKET"), "{line}");
    timeout(SOON, servers.shutdown()).await.unwrap();
    line_with(&mut stream, "0\r\n").await;
    assert!(!scratch.socket().exists());
}

#[tokio::test]
async fn a_reader_that_does_not_read_gets_the_number_it_missed() {
    let scratch = Scratch::new("slow");
    let (servers, feed) = start(&scratch).await;
    let mut stream = ask(&scratch, "/v1/events").await;
    line_with(&mut stream, "200 OK").await;
    // More than socket buffers and chunks can hold.
    for _ in 0..2000 {
        feed.publish(Arc::new(sample::timeout()));
        tokio::task::yield_now().await;
    }
    let line = line_with(&mut stream, "\"missed\"").await;
    assert!(line.contains("\"count\":") && feed.missed() > 0, "{line}");
    servers.shutdown().await;
}

#[tokio::test]
async fn a_reader_that_goes_frees_its_place() {
    let scratch = Scratch::new("gone");
    let (servers, feed) = start(&scratch).await;
    let mut stream = ask(&scratch, "/v1/events").await;
    line_with(&mut stream, "200 OK").await;
    assert_eq!(feed.readers(), 1);
    drop(stream);
    let gone = async {
        while feed.readers() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, gone).await.unwrap();
    servers.shutdown().await;
}

#[tokio::test]
async fn a_bad_filter_is_refused_by_name() {
    let scratch = Scratch::new("filter");
    let (servers, _feed) = start(&scratch).await;
    let mut stream = ask(&scratch, "/v1/events?port=x").await;
    line_with(&mut stream, "400 Bad Request").await;
    line_with(&mut stream, "port=\"x\": invalid digit").await;
    servers.shutdown().await;
}

#[tokio::test]
async fn the_status_tells_version_and_probes() {
    let scratch = Scratch::new("status");
    let (servers, _feed) = start(&scratch).await;
    let mut stream = ask(&scratch, "/v1/status").await;
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("application/json"), "{head}");
    let status: Status = serde_json::from_str(body).unwrap();
    assert_eq!((status.v, status.pid, &*status.kernel), (1, std::process::id(), "6.18.44"));
    assert_eq!(status.probes.iter().filter(|probe| probe.up).count(), 1);
    servers.shutdown().await;
}

#[tokio::test]
async fn metrics_are_on_tcp_and_events_are_not() {
    let scratch = Scratch::new("tcp");
    let (servers, _feed) = start(&scratch).await;
    for (path, part) in
        [("/metrics", "tcpwhy_build_info{"), ("/v1/events", "404 Not Found"), ("/healthz", "ok")]
    {
        let mut stream = TcpStream::connect(servers.address()).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.contains(part), "{path}: {answer}");
    }
    servers.shutdown().await;
}

#[tokio::test]
async fn shutdown_does_not_wait_for_a_client_that_says_nothing() {
    let scratch = Scratch::new("silent");
    let (servers, _feed) = start(&scratch).await;
    let _silent = TcpStream::connect(servers.address()).await.unwrap();
    tokio::task::yield_now().await;
    timeout(SOON, servers.shutdown()).await.unwrap();
}

#[tokio::test]
async fn the_socket_is_for_owner_and_group() {
    let scratch = Scratch::new("mode");
    let bound = bind(&scratch).await.unwrap();
    let mode = fs::symlink_metadata(scratch.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    drop(bound);
    assert!(!scratch.socket().exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let scratch = Scratch::new("stale");
    drop(UnixListener::bind(scratch.socket()).unwrap());
    assert!(scratch.socket().exists());
    bind(&scratch).await.unwrap();
}

#[tokio::test]
async fn the_socket_of_an_agent_that_is_about_to_end_is_replaced() {
    let scratch = Scratch::new("ending");
    let ending = UnixListener::bind(scratch.socket()).unwrap();
    let ended = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(ending);
    });
    bind(&scratch).await.unwrap();
    ended.await.unwrap();
}

#[tokio::test]
async fn a_living_agent_is_named() {
    let scratch = Scratch::new("living");
    let _first = bind(&scratch).await.unwrap();
    let error = bind(&scratch).await.unwrap_err().to_string();
    let pid = std::process::id();
    assert!(error.contains(&format!("an agent (process {pid}) already answers there")), "{error}");
    assert!(scratch.socket().exists());
}

#[tokio::test]
async fn any_other_file_is_left_alone() {
    let scratch = Scratch::new("file");
    fs::write(scratch.socket(), "precious").unwrap();
    let error = bind(&scratch).await.unwrap_err().to_string();
    assert!(error.contains("not a socket"), "{error}");
    assert_eq!(fs::read_to_string(scratch.socket()).unwrap(), "precious");
}

#[tokio::test]
async fn a_busy_port_is_named() {
    let scratch = Scratch::new("port");
    let other = std::net::TcpListener::bind(ANY_PORT).unwrap();
    let address = other.local_addr().unwrap();
    let error = Bound::bind(address, &scratch.socket()).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("listen on {address}: another program uses this port")), "{error}");
    assert!(!scratch.socket().exists());
}

#[test]
fn the_schema_files_are_those_of_the_answers() {
    file::check::<Gathered>("advise");
    file::check::<Listing>("families");
    file::check::<Status>("status");
    file::check::<Top>("top");
    file::check::<WhyReport>("why");
}
