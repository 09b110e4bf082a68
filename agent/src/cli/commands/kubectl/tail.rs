//! `kubectl tcpwhy tail`

use std::ffi::OsString;
use std::io::Write;
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use agent_model::schema::End;
use anyhow::{Context as _, bail};
use clap::Args;
use jiff::Timestamp;
use serde::Deserialize;

use super::cluster::{Cluster, Pod};
use super::ends::Ends;
use super::merge::Merge;
use super::target::Target;
use crate::cli::flags::filter::FilterArgs;
use crate::cli::flags::since::since;
use crate::cli::flags::style::StyleArgs;
use crate::cli::lines::lines;
use crate::cli::output::{Formatter, Output};
use crate::cli::printer;
use crate::filter::place::Where;
use crate::filter::query::Query;
use crate::filter::{Filter, Network};
use crate::schema::flow::community_id;

/// After so long without a line: check whether anybody still reads.
const IDLE: Duration = Duration::from_hours(1);

/// Print events of a cluster as they happen, and why connections stalled or died.
///
/// Of a pod, from the agent of its node; of a workload or without either, from all of them, in the order of the
/// nodes' clocks. Of two diagnoses of one connection, from both of its ends, the second one says so. JSON lines begin
/// with `node` and with `flow`, the Community ID of the connection: the same at both ends.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  kubectl tcpwhy tail pod/web-7d9f4c-x2v5p -n shop
  kubectl tcpwhy tail deployment/web -n shop --diagnoses
  kubectl tcpwhy tail --event reset_sent,reset_received -o json
  kubectl tcpwhy tail --node node1 --since 10m")]
pub(super) struct Tail {
    /// Pod (`pod/NAME` or NAME), or what pods belong to (`deployment/NAME`).
    target: Option<Target>,
    /// Of all nodes: of a pod what its peers' nodes see of it too.
    #[arg(long, conflicts_with = "node")]
    all_nodes: bool,
    /// Of this node alone.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Form of the output.
    #[arg(short, long, value_enum, env = "TCPWHY_OUTPUT", default_value = "text", value_name = "FORM")]
    output: Output,
    /// Begin with what the agents still remember since then: 90s, 10m, 14:05, 2026-01-31T13:05:00Z.
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    #[command(flatten)]
    cluster: Cluster,
    #[command(flatten)]
    style: StyleArgs,
    #[command(flatten)]
    filter: FilterArgs,
}

/// An agent, and what it is asked.
struct Question {
    agent: Pod,
    query: Query,
}

/// What a stream gives.
enum FeedItem {
    Line(usize, String),
    End(usize),
}

/// What a line is put in order and named by.
#[derive(Default, Deserialize)]
struct Head {
    time: Option<String>,
    local: Option<End>,
    remote: Option<End>,
    /// Of a diagnosis.
    shared_id: Option<String>,
}

impl Tail {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let questions = self.questions()?;
        let mut print = Print::new(&questions, Formatter::new(self.output, self.style.lines()), self.output);
        let (sender, published) = mpsc::channel();
        let streams = Streams::start(&self.cluster, &questions, &sender)?;
        drop(sender);
        let result = follow(&published, &mut print, &questions);
        drop(streams);
        printer::end(result)
    }

    fn questions(&self) -> anyhow::Result<Vec<Question>> {
        let filter = Filter::from(self.filter.clone());
        let namespace = self.filter.namespace();
        let (home, here, there) = match &self.target {
            None => (None, filter.clone(), filter),
            Some(Target::Pod(name)) => {
                let pod = self.cluster.pod(name, namespace)?;
                let (here, there) = views(&pod, filter);
                (Some(pod.node().to_owned()), here, there)
            }
            Some(Target::Workload(workload)) => {
                let wanted = with(filter, Where::Workload(workload.clone()));
                (None, wanted.clone(), wanted)
            }
            Some(Target::End(end)) => {
                bail!("{end}: of a connection there is `kubectl tcpwhy why {end}`; see --address")
            }
        };
        let only = self.node.as_ref().or(home.as_ref().filter(|_| !self.all_nodes));
        let mut agents = self.cluster.agents()?;
        agents.retain(|agent| only.is_none_or(|node| node == agent.node()));
        if agents.is_empty() {
            bail!("no agent runs on node {}", only.map_or("", |node| node));
        }
        let question = |agent: Pod| {
            let is_home = home.as_ref().is_none_or(|home| home == agent.node());
            let filter = if is_home { here.clone() } else { there.clone() };
            Question { query: Query { filter, since: self.since }, agent }
        };
        Ok(agents.into_iter().map(question).collect())
    }
}

/// What the pod's own agent is asked, and what those of its peers: they do not know the pod, but its address.
fn views(pod: &Pod, filter: Filter) -> (Filter, Filter) {
    let mut there = filter.clone();
    there.place.0.clear();
    if let Some(address) = pod.own_address().or(pod.node_address()) {
        there.address.extend(address.to_string().parse::<Network>());
    }
    (with(filter, Where::Pod(pod.path())), there)
}

fn with(mut filter: Filter, place: Where) -> Filter {
    filter.place.0.push(place);
    filter
}

/// The flags that ask for this: those of `tcpwhy tail` are the parameters of its query.
fn flags(query: &Query) -> Vec<OsString> {
    let query = query.to_query();
    let flags = form_urlencoded::parse(query.as_bytes()).map(|(name, value)| match (&*name, &*value) {
        ("show", "events") => "--no-diagnoses".to_owned(),
        ("show", _) => "--diagnoses".to_owned(),
        (name, value) => format!("--{name}={value}"),
    });
    ["tail".to_owned(), "--output=json".to_owned()].into_iter().chain(flags).map(OsString::from).collect()
}

/// `kubectl exec`s that run; ended with this value.
struct Streams(Vec<Child>);

impl Streams {
    fn start(
        cluster: &Cluster,
        questions: &[Question],
        published: &Sender<FeedItem>,
    ) -> anyhow::Result<Self> {
        let mut streams = Self(Vec::new());
        for (index, Question { agent, query }) in questions.iter().enumerate() {
            let mut command = cluster.exec(agent, &flags(query));
            let mut child = command.stdout(Stdio::piped()).spawn().context("start kubectl")?;
            let output = child.stdout.take().context("kubectl has no output")?;
            streams.0.push(child);
            let published = published.clone();
            thread::spawn(move || {
                for line in lines(output) {
                    if published.send(FeedItem::Line(index, line)).is_err() {
                        return;
                    }
                }
                // Nobody may listen any more.
                let _ = published.send(FeedItem::End(index));
            });
        }
        Ok(streams)
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Prints until all streams have ended, which is nobody's wish.
fn follow(published: &Receiver<FeedItem>, print: &mut Print, questions: &[Question]) -> anyhow::Result<()> {
    print.header()?;
    let mut merge = Merge::of(questions.len());
    loop {
        let pause = merge.pause(Instant::now()).unwrap_or(IDLE);
        match published.recv_timeout(pause) {
            Ok(FeedItem::Line(index, line)) => {
                let name = Head::of(&line);
                let time = name.time().unwrap_or_else(Timestamp::now);
                merge.put(time, Instant::now(), (index, name, line));
            }
            Ok(FeedItem::End(index)) => {
                log::warn!("the stream of node {} ended", questions[index].agent.node());
            }
            Err(RecvTimeoutError::Timeout) => (),
            Err(RecvTimeoutError::Disconnected) => break,
        }
        for (index, name, line) in merge.ready(Instant::now()) {
            print.line(index, &name, &line)?;
        }
    }
    for (index, name, line) in merge.rest() {
        print.line(index, &name, &line)?;
    }
    bail!("all streams ended")
}

impl Head {
    /// A line that is none of ours has neither time nor ends.
    fn of(line: &str) -> Self {
        serde_json::from_str(line).unwrap_or_default()
    }

    fn time(&self) -> Option<Timestamp> {
        self.time.as_ref()?.parse().ok()
    }

    fn flow(&self) -> Option<String> {
        let [local, remote] = [self.local.as_ref()?, self.remote.as_ref()?].map(End::socket_address);
        Some(community_id(local, remote))
    }
}

/// Lines with the names of their nodes.
struct Print {
    nodes: Vec<String>,
    width: usize,
    formatter: Formatter,
    output: Output,
    ends: Ends,
}

impl Print {
    fn new(questions: &[Question], formatter: Formatter, output: Output) -> Self {
        let nodes: Vec<_> = questions.iter().map(|question| question.agent.node().to_owned()).collect();
        let width = nodes.iter().map(|node| node.chars().count()).max().unwrap_or(0).max("NODE".len());
        Self { nodes, width, formatter, output, ends: Ends::default() }
    }

    fn header(&self) -> anyhow::Result<()> {
        let header = self.formatter.header();
        if header.is_empty() { Ok(()) } else { write(&self.named("NODE", &header)) }
    }

    fn line(&mut self, index: usize, head: &Head, line: &str) -> anyhow::Result<()> {
        let text = self.formatter.line(line)?;
        let other = head.shared_id.as_ref().and_then(|id| self.ends.other(id, index));
        let (node, other) = (&self.nodes[index], other.map(|other| &*self.nodes[other]));
        if let (Output::Json, Some(rest)) = (self.output, text.strip_prefix('{')) {
            let flow = head.flow();
            let of = [("node", Some(&**node)), ("flow", flow.as_deref()), ("other_end", other)];
            return write(&format!("{{{}{rest}", members(of)?));
        }
        let text = text.trim_end_matches('\n');
        let other = other.map_or(String::new(), |other| format!("; the other end of {other}'s"));
        write(&self.named(node, &format!("{text}{other}\n")))
    }

    /// Of a single node there is no need to name it.
    fn named(&self, node: &str, text: &str) -> String {
        if self.nodes.len() > 1 {
            format!("{node:width$} {text}", width = self.width)
        } else {
            text.to_owned()
        }
    }
}

/// As they begin a JSON object that has more.
fn members<const N: usize>(all: [(&str, Option<&str>); N]) -> serde_json::Result<String> {
    let some = all.into_iter().filter_map(|(name, value)| Some((name, value?)));
    some.map(|(name, value)| Ok(format!("\"{name}\":{},", serde_json::to_string(value)?))).collect()
}

pub(super) fn write(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_are_asked_by_flags() {
        let query = Query::parse("port=443&pod=shop%2Fweb-0&show=diagnoses").unwrap();
        let wanted = ["tail", "--output=json", "--port=443", "--pod=shop/web-0", "--diagnoses"];
        assert_eq!(flags(&query), wanted.map(OsString::from));
    }

    #[test]
    fn a_line_has_a_time_and_a_flow() {
        let line = r#"{"v":1,"time":"2026-01-31T13:05:00.5Z","local":{"address":"192.0.2.7","port":41022},
            "remote":{"address":"198.51.100.1","port":443}}"#;
        let head = Head::of(line);
        assert_eq!(head.time().unwrap().to_string(), "2026-01-31T13:05:00.5Z");
        assert_eq!(head.flow().as_deref(), Some("1:MWYLS/UbnLQieCSPpVeWWx2GCBs="));
        assert!(Head::of("no line of ours").time().is_none());
    }
}
