//! The flags that say where names of pods and units come from.

use std::env;
use std::path::PathBuf;

use agent_source::{cgroups, kubernetes, names};
use clap::Args;
use hyper::Uri;

/// Where names of pods, containers and units come from, where it attaches.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Names, where it attaches")]
pub(in crate::cli) struct NamesArgs {
    /// Root of the host's cgroup v2 tree, which tells ids of pods and containers [default: where it is mounted
    /// below /sys/fs/cgroup].
    #[arg(long, value_name = "FOLDER", env = "TCPWHY_CGROUPS")]
    cgroups: Option<PathBuf>,
    /// Name of this node: with it, names of its pods are asked of the Kubernetes API (`list` and `watch` of
    /// pods).
    #[arg(long, value_name = "NAME", env = "TCPWHY_NODE_NAME")]
    node_name: Option<String>,
    /// The API server [default: that of the cluster whose pod this is]; http only of a `kubectl proxy`.
    #[arg(long, value_name = "URL", env = "TCPWHY_KUBERNETES_API", requires = "node_name")]
    kubernetes_api: Option<Uri>,
    /// Folder with `token` and `ca.crt`.
    #[arg(
        long,
        value_name = "FOLDER",
        env = "TCPWHY_KUBERNETES_CREDENTIALS",
        default_value = "/var/run/secrets/kubernetes.io/serviceaccount"
    )]
    kubernetes_credentials: PathBuf,
}

impl NamesArgs {
    /// This node, in a cluster.
    pub(in crate::cli) fn node(&self) -> Option<&str> {
        self.node_name.as_deref()
    }

    /// Which names to look for.
    pub(in crate::cli) fn wanted(&self) -> names::Wanted {
        let cgroups = self.cgroups.clone().or_else(cgroups::root);
        if cgroups.is_none() {
            log::warn!("no names of pods and units: no cgroup v2 is mounted below /sys/fs/cgroup");
        }
        names::Wanted { cgroups, kubernetes: self.kubernetes() }
    }

    fn kubernetes(&self) -> Option<kubernetes::Api> {
        let Self { node_name, kubernetes_api, kubernetes_credentials, .. } = self;
        let node = node_name.clone()?;
        let [host, port] =
            ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"].map(|name| env::var(name).ok());
        let in_cluster = || kubernetes::in_cluster(host, port, kubernetes_credentials);
        let Some(server) = kubernetes_api.clone().or_else(in_cluster) else {
            log::warn!(
                "no names of pods: this is no pod with a service account, and --kubernetes-api is not given"
            );
            return None;
        };
        Some(kubernetes::Api { server, credentials: kubernetes_credentials.clone(), node })
    }
}
