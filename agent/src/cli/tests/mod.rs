mod documented;

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, PipeReader};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::CommandFactory as _;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::commands::{agent, tail};
use super::flags::attach::Attached;
use super::output::{Formatter, Output};
use super::printer::Printer;
use super::signals::Signals;
use super::{Cli, client};
use crate::filter::query::Query;
use crate::live::PipelineThread;
use crate::metrics::tests::{busy, host};
use crate::schema::{Item, sample};
use crate::serve::feed::Feed;
use crate::serve::servers::Bound;
use crate::text::LineStyle;

fn read(args: &[&str]) -> Result<Cli, (u8, String)> {
    let args = ["tcpwhy"].iter().chain(args).map(OsString::from);
    Cli::read(args).map_err(|end| end.code_and_text())
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn wrong_usage_is_64_and_names_the_flag() {
    for (args, part) in [
        (&["agent", "--listen", "9752"][..], "'--listen <ADDRESS>'"),
        (&["agent", "--ring-size", "3M"], "not a power of two from 64K to 1G"),
        (&["agent", "--max-sockets", "1"], "1 is not in 64..=16777216"),
        (&["agent", "--history-age", "soon"], "'--history-age <TIME>'"),
        (&["tail", "--port", "70000"], "'--port <PORT>'"),
        (&["tail", "--address", "localhost"], "not an IP address or a network"),
        (&["tail", "--kind", "slow"], "possible values: unknown, timeout, fast"),
        (&["tail", "--netns", "/run/netns/none-of-that-name"], "neither a number nor a file"),
        (&["tail", "-o", "xml"], "possible values: text, json"),
        (&["tail", "--log", "loud"], "possible values: off, error"),
        (&["dance"], "unrecognized subcommand"),
        (&[], "Usage:"),
    ] {
        let (code, text) = read(args).unwrap_err();
        assert_eq!(code, 64, "{args:?}");
        assert!(text.contains(part), "{args:?}: {text}");
    }
}

#[test]
fn flags_may_be_repeated_or_listed() {
    read(&[
        "tail",
        "--port",
        "80,443",
        "--port",
        "8080",
        "--netns",
        "/proc/self/ns/net",
        "--event",
        "reset_sent",
    ])
    .unwrap();
}

const ENDED: &str = "the agent ended (`tcpwhy tail --follow` waits for the next)";

/// An agent without a kernel.
struct Agent {
    socket: PathBuf,
    feed: Feed,
    end: oneshot::Sender<anyhow::Result<()>>,
    task: JoinHandle<anyhow::Result<()>>,
}

async fn start(name: &str) -> Agent {
    let socket = std::env::temp_dir().join(format!("tcpwhy-cli-{name}-{}.sock", std::process::id()));
    let bound = Bound::bind("127.0.0.1:0".parse().unwrap(), &socket).await.unwrap();
    let (feed, fake) = (Feed::default(), Arc::new(busy()));
    let (end, ended) = oneshot::channel::<anyhow::Result<()>>();
    let source = PipelineThread::spawn(|_stopped| ended.blocking_recv()?).unwrap();
    let attached = Attached {
        names: Vec::new(),
        counters: Arc::clone(&fake) as _,
        tallies: Arc::clone(&fake) as _,
        answers: fake,
        feed: feed.clone(),
        host: host(),
        source,
    };
    let task =
        tokio::spawn(agent::serve(bound, attached, agent::Readers::default(), Signals::new().unwrap()));
    Agent { socket, feed, end, task }
}

async fn open(agent: &Agent, output: Output) -> (JoinHandle<anyhow::Result<()>>, BufReader<PipeReader>) {
    let before = agent.feed.readers();
    let (task, reader) = follow(agent.socket.clone(), output, false);
    while agent.feed.readers() < before + 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (task, reader)
}

fn follow(
    socket: PathBuf,
    output: Output,
    again: bool,
) -> (JoinHandle<anyhow::Result<()>>, BufReader<PipeReader>) {
    let (reader, writer) = std::io::pipe().unwrap();
    let query = Query::parse("port=5001&since=1970-01-01T00:00:00Z").unwrap();
    let formatter = Formatter::new(output, LineStyle::usual(false));
    let task = async move { tail::follow(&socket, query, formatter, Printer::new(writer), again).await };
    (tokio::spawn(task), BufReader::new(reader))
}

async fn line(reader: BufReader<PipeReader>) -> (String, BufReader<PipeReader>) {
    let read = tokio::task::spawn_blocking(move || {
        let (mut reader, mut line) = (reader, String::new());
        reader.read_line(&mut line).unwrap();
        (line, reader)
    });
    tokio::time::timeout(Duration::from_secs(10), read).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_tail_prints_what_it_asked_for_and_fails_when_the_agent_ends() {
    let agent = start("tail").await;
    let (text, reader) = open(&agent, Output::Text).await;
    let (json, json_reader) = open(&agent, Output::Json).await;
    agent.feed.publish(Arc::new(sample::no_socket()));
    agent.feed.publish(Arc::new(sample::timeout()));
    let (header, reader) = line(reader).await;
    assert!(header.contains("EVENT"), "{header}");
    let (event, _reader) = line(reader).await;
    assert!(event.contains("retransmit timeout #3 rto 1.632s"), "{event}");
    let (event, _json_reader) = line(json_reader).await;
    assert!(matches!(Item::parse(event.as_bytes()), Ok(Item::Event(_))), "{event}");
    agent.end.send(Ok(())).unwrap();
    agent.task.await.unwrap().unwrap();
    for task in [text, json] {
        assert_eq!(task.await.unwrap().unwrap_err().to_string(), ENDED);
    }
}

#[tokio::test]
async fn a_tail_that_follows_goes_on_with_the_next_agent() {
    let name = "follow";
    let first = start(name).await;
    first.feed.publish(Arc::new(sample::timeout()));
    let (task, reader) = follow(first.socket.clone(), Output::Text, true);
    let (_header, reader) = line(reader).await;
    let (event, reader) = line(reader).await;
    assert!(event.contains("retransmit timeout #3"), "what was before is not printed: {event}");
    first.end.send(Ok(())).unwrap();
    first.task.await.unwrap().unwrap();
    let second = start(name).await;
    while second.feed.readers() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    second.feed.publish(Arc::new(sample::timeout()));
    let (event, _reader) = line(reader).await;
    assert!(event.contains("retransmit timeout #3"), "{event}");
    task.abort();
    second.end.send(Ok(())).unwrap();
    second.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_agent_whose_source_fails_says_why() {
    let agent = start("fail").await;
    agent.end.send(Err(anyhow::anyhow!("read the ring"))).unwrap();
    assert_eq!(agent.task.await.unwrap().unwrap_err().to_string(), "read the ring");
    assert!(!agent.socket.exists());
}

#[tokio::test]
async fn a_tail_without_an_agent_says_what_to_do() {
    let error =
        client::open("/nonexistent/tcpwhy.sock".as_ref(), "/v1/events").await.unwrap_err().to_string();
    assert!(error.starts_with("connect to /nonexistent/tcpwhy.sock: no agent runs there; start"), "{error}");
}

#[tokio::test]
async fn what_the_agent_refuses_is_printed() {
    let agent = start("refuse").await;
    let error = client::open(&agent.socket, "/v1/events?pods=x").await.unwrap_err().to_string();
    assert!(error.starts_with("ask the agent: \"pods\" is no parameter"), "{error}");
    drop(agent.end);
    assert!(agent.task.await.unwrap().is_err());
}
