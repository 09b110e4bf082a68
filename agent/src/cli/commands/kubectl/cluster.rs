//! The cluster as the user's kubectl shows it. Nothing here knows a kubeconfig, a token or a certificate.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What the chart labels the agents' pods with.
const LABEL: &str = "app.kubernetes.io/name=tcpwhy";
/// The agent's container, of the chart.
const CONTAINER: &str = "agent";

/// Which cluster, and which of its agents.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cluster")]
pub(super) struct Cluster {
    /// Context of the kubeconfig.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The kubeconfig.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Namespace of the agents [default: all are searched].
    #[arg(long, value_name = "NAMESPACE", env = "TCPWHY_AGENT_NAMESPACE")]
    agent_namespace: Option<String>,
}

/// A pod, as much of it as is needed here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Pod {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    namespace: String,
    name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: String,
    host_network: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(rename = "podIP")]
    pod_ip: Option<IpAddr>,
    #[serde(rename = "hostIP")]
    host_ip: Option<IpAddr>,
}

#[derive(Deserialize)]
struct List {
    items: Vec<Pod>,
}

impl Pod {
    /// `NAMESPACE/NAME`.
    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.metadata.namespace, self.metadata.name)
    }

    /// Its node; empty as long as it has none.
    pub(super) fn node(&self) -> &str {
        &self.spec.node_name
    }

    /// Its own address; none if it shares the node's.
    pub(super) fn own_address(&self) -> Option<IpAddr> {
        self.status.pod_ip.filter(|_| !self.spec.host_network)
    }

    /// Its node's address.
    pub(super) fn node_address(&self) -> Option<IpAddr> {
        self.status.host_ip
    }
}

impl Cluster {
    /// A pod by its name; kubectl knows the usual namespace.
    pub(super) fn pod(&self, name: &str, namespace: Option<&str>) -> anyhow::Result<Pod> {
        let namespace = namespace.map(|namespace| ["--namespace", namespace]);
        self.get(["pod", name].into_iter().chain(namespace.into_iter().flatten()))
    }

    /// The node whose pod has this address.
    pub(super) fn node_of(&self, address: IpAddr) -> anyhow::Result<Option<String>> {
        let field = format!("status.podIP={address}");
        let List { items } = self.get(["pods", "--all-namespaces", "--field-selector", &field])?;
        let pod = items.into_iter().find(|pod| !pod.node().is_empty());
        Ok(pod.map(|pod| pod.spec.node_name))
    }

    /// The agents that run, one a node, by the nodes' names.
    pub(super) fn agents(&self) -> anyhow::Result<Vec<Pod>> {
        let mut arguments = vec!["pods", "--selector", LABEL, "--field-selector", "status.phase=Running"];
        match &self.agent_namespace {
            Some(namespace) => arguments.extend(["--namespace", namespace]),
            None => arguments.push("--all-namespaces"),
        }
        let List { mut items } = self.get(arguments)?;
        items.sort_by(|one, other| one.node().cmp(other.node()));
        if items.is_empty() {
            bail!("no pod with label {LABEL} runs: is the agent installed? See --agent-namespace");
        }
        Ok(items)
    }

    /// `tcpwhy` with these arguments in an agent's pod.
    pub(super) fn exec(&self, agent: &Pod, arguments: &[OsString]) -> Command {
        let Metadata { namespace, name } = &agent.metadata;
        let mut command = self.kubectl();
        command.args(["exec", "--namespace", namespace, name, "--container", CONTAINER, "--", "tcpwhy"]);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn get<'a, T: DeserializeOwned>(
        &self,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> anyhow::Result<T> {
        let mut command = self.kubectl();
        command.arg("get").args(arguments).args(["--output", "json"]);
        // Its complaints are the user's to read.
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
        let output = output.context("start kubectl")?;
        if !output.status.success() {
            bail!("`kubectl get` failed ({})", output.status);
        }
        serde_json::from_slice(&output.stdout).context("read what kubectl got")
    }

    fn kubectl(&self) -> Command {
        let Self { context, kubeconfig, agent_namespace: _ } = self;
        let mut command = Command::new("kubectl");
        command.args(context.iter().flat_map(|context| ["--context", context]));
        if let Some(file) = kubeconfig {
            command.arg("--kubeconfig").arg(file);
        }
        command
    }
}
