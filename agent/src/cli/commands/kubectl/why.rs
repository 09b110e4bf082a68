//! `kubectl tcpwhy why`

use std::ffi::OsString;
use std::net::IpAddr;
use std::process::Stdio;

use agent_model::schema::VERSION;
use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use serde_with::skip_serializing_none;

use super::cluster::{Cluster, Pod};
use super::target::Target;
use crate::answers::why::WhyReport;
use crate::cli::commands::why;
use crate::cli::output::Output;
use crate::cli::printer;
use crate::schema::flow::community_id;

/// Agents asked at the same time: each takes a kubectl of some 50 MB.
const ABREAST: usize = 32;

/// Say why a connection stalled or died, from both of its ends where the agents of both nodes saw it.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  kubectl tcpwhy why pod/web-7d9f4c-x2v5p -n shop    the last one of that pod
  kubectl tcpwhy why 192.0.2.7:41022                 the one with this end
  kubectl tcpwhy why web-0 -n shop -o json           both reports, for programs")]
pub(super) struct Why {
    /// Pod (`pod/NAME` or NAME), what pods belong to (`deployment/NAME`), or ADDRESS:PORT of either end.
    target: Target,
    /// Namespace of the pod [default: kubectl's].
    #[arg(short, long)]
    namespace: Option<String>,
    /// Form of the output.
    #[arg(short, long, value_enum, env = "TCPWHY_OUTPUT", default_value = "text", value_name = "FORM")]
    output: Output,
    #[command(flatten)]
    cluster: Cluster,
}

/// One end's story.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::cli) struct NodeReport {
    /// The node that it lives on.
    pub(in crate::cli) node: String,
    /// What its agent says.
    pub(in crate::cli) report: WhyReport,
}

/// The JSON form.
#[skip_serializing_none]
#[derive(Serialize)]
struct Both<'a> {
    v: u32,
    shared_id: Option<&'a str>,
    flow: String,
    ends: &'a [NodeReport],
}

impl Why {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let agents = self.cluster.agents()?;
        let first = self.first(&agents)?;
        let second = self.second(&first, &agents)?;
        let ends: Vec<_> = [first].into_iter().chain(second).collect();
        let text = match self.output {
            Output::Text => why::both(&ends),
            Output::Json => {
                let WhyReport { local, remote, shared_id, .. } = &ends[0].report;
                let flow = community_id(local.socket_address(), remote.socket_address());
                let shared_id = shared_id.as_deref();
                serde_json::to_string(&Both { v: VERSION, shared_id, flow, ends: &ends })? + "\n"
            }
        };
        printer::end(super::tail::write(&text))
    }

    /// The story that was asked for; of several the one with the last event.
    fn first(&self, agents: &[Pod]) -> anyhow::Result<NodeReport> {
        let (node, wanted) = match &self.target {
            Target::Pod(name) => {
                let pod = self.cluster.pod(name, self.namespace.as_deref())?;
                (Some(pod.node().to_owned()), vec![format!("--pod={}", pod.path())])
            }
            Target::Workload(workload) => {
                let namespace = self.namespace.iter().map(|namespace| format!("--namespace={namespace}"));
                (None, [format!("--workload={workload}")].into_iter().chain(namespace).collect())
            }
            Target::End(end) => (self.node_of(end.ip(), agents)?, vec![end.to_string()]),
        };
        let asked = agents.iter().filter(|agent| node.as_ref().is_none_or(|node| node == agent.node()));
        let ends = self.ask(asked, &wanted);
        ends.into_iter()
            .max_by_key(|end| end.report.timeline.last().map(|last| last.time))
            .with_context(|| format!("no connection matches on {}", node.as_deref().unwrap_or("any node")))
    }

    /// The other end's story, if it lives on another node whose agent remembers it.
    fn second(&self, first: &NodeReport, agents: &[Pod]) -> anyhow::Result<Option<NodeReport>> {
        let WhyReport { local, remote, shared_id, .. } = &first.report;
        let node = self.node_of(remote.address, agents)?;
        let others = agents.iter().filter(|agent| agent.node() != first.node);
        if let Some(id) = shared_id {
            // An address of no pod and no node is a Service's, translated on its way: any node may have the other end.
            let others = others.clone().filter(|agent| node.as_ref().is_none_or(|node| node == agent.node()));
            if let Some(end) = self.ask(others, &[format!("--shared-id={id}")]).pop() {
                return Ok(Some(end));
            }
        }
        let Some(node) = node else { return Ok(None) };
        let others = others.filter(|agent| agent.node() == node);
        // One of the ends is shared by many connections, a server's; the other is not.
        let ends = [local, remote].map(|end| end.socket_address().to_string());
        let found = ends.iter().flat_map(|end| self.ask(others.clone(), std::slice::from_ref(end)));
        // Two names are two connections, of which one had the ends before the other.
        let fits = |end: &NodeReport| end.report.shared_id.is_none() || shared_id.is_none();
        let is_turned = |end: &NodeReport| end.report.local == *remote && end.report.remote == *local;
        Ok(found.into_iter().find(|end| is_turned(end) && fits(end)))
    }

    /// The node with an agent that has this address, or a pod with it.
    fn node_of(&self, address: IpAddr, agents: &[Pod]) -> anyhow::Result<Option<String>> {
        let own = agents.iter().find(|agent| agent.node_address() == Some(address));
        match own {
            Some(agent) => Ok(Some(agent.node().to_owned())),
            None => self.cluster.node_of(address),
        }
    }

    /// What agents say. One that knows nothing of it is no failure.
    fn ask<'a>(&self, agents: impl Iterator<Item = &'a Pod>, wanted: &[String]) -> Vec<NodeReport> {
        let fixed = ["why", "--output=json"].map(OsString::from);
        let arguments: Vec<_> = fixed.into_iter().chain(wanted.iter().map(OsString::from)).collect();
        let agents: Vec<_> = agents.collect();
        agents.chunks(ABREAST).flat_map(|some| self.ask_some(some, &arguments)).collect()
    }

    /// All at the same time.
    fn ask_some(&self, agents: &[&Pod], arguments: &[OsString]) -> Vec<NodeReport> {
        let running: Vec<_> = agents
            .iter()
            .filter_map(|agent| {
                let mut command = self.cluster.exec(agent, arguments);
                let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
                child
                    .inspect_err(|error| log::warn!("start kubectl: {error}"))
                    .ok()
                    .map(|child| (agent, child))
            })
            .collect();
        let answers = running.into_iter().map(|(agent, child)| (agent, child.wait_with_output()));
        answers
            .filter_map(|(agent, answer)| {
                let answer = answer.ok()?;
                let report = serde_json::from_slice(&answer.stdout);
                report
                    .inspect_err(|_| complain(agent, &answer.stderr))
                    .ok()
                    .map(|report| NodeReport { node: agent.node().to_owned(), report })
            })
            .collect()
    }
}

/// Says why an agent did not answer, unless it merely does not know the connection.
fn complain(agent: &Pod, stderr: &[u8]) {
    let said = String::from_utf8_lossy(stderr);
    if !said.contains("no connection matches") {
        log::warn!("node {}: {}", agent.node(), said.trim());
    }
}
