//! What is looked at: the agent installed by its manifests, and what it takes when parts of the cluster fail.

use anyhow::{Context as _, Result, ensure};

use super::Cluster;
use crate::{report, workspace};

/// Pods whose connections are refused, once a second.
const PODS: &str = include_str!("pods.yaml");
/// How long the API server is gone, seconds.
const OUTAGE: u64 = 60;

/// Goes through all of it, each thing seen or the reason why not.
pub fn check(cluster: &Cluster) -> Result<()> {
    install(cluster)?;
    names(cluster)?;
    plugin(cluster)?;
    without_api(cluster)?;
    without_rights(cluster)?;
    without_kubelet(cluster)
}

fn install(cluster: &Cluster) -> Result<()> {
    for file in ["namespace.yaml", "tcpwhy.yaml"] {
        let file = workspace::root().join("deploy/kustomize").join(file);
        cluster.kubectl(&["apply", "--filename", &file.to_string_lossy()])?;
    }
    cluster.wait("the agent's pod ready, as the manifests have it", is_ready)?;
    let file = workspace::target().join("cluster/run/pods.yaml");
    std::fs::write(&file, PODS).context("write the pods")?;
    cluster.kubectl(&["apply", "--filename", &file.to_string_lossy()])?;
    cluster.wait("pods that are refused", |cluster| {
        let phases = ["get", "pods", "--namespace", "shop", "--output", "jsonpath={.items[*].status.phase}"];
        cluster.kubectl(&phases).is_ok_and(|phases| phases == "Running Running")
    })
}

fn is_ready(cluster: &Cluster) -> bool {
    let status =
        ["get", "daemonset/tcpwhy", "--namespace", "tcpwhy", "--output", "jsonpath={.status.numberReady}"];
    cluster.kubectl(&status).is_ok_and(|ready| ready == "1")
}

fn names(cluster: &Cluster) -> Result<()> {
    cluster.wait("resets with pod, container and namespace in the metrics", |cluster| {
        let wanted = "namespace=\"shop\",pod=\"web-";
        metrics(cluster).lines().any(|line| {
            line.starts_with("tcpwhy_resets_received_total{")
                && line.contains(wanted)
                && line.contains("refused\"")
        })
    })?;
    cluster.wait("the workload in the metrics", |cluster| {
        metrics(cluster).contains("owner_kind=\"Deployment\",owner_name=\"web\"} 1")
    })
}

/// The program is in the path inside as `kubectl-tcpwhy`.
fn plugin(cluster: &Cluster) -> Result<()> {
    let tail = [
        "timeout",
        "--signal=INT",
        "15",
        "kubectl",
        "tcpwhy",
        "tail",
        "deployment/web",
        "--namespace",
        "shop",
    ];
    let printed =
        cluster.run(&[&["sh", "-c", "\"$@\" || true", "sh"], &tail[..], &["--since", "1m"]].concat())?;
    ensure!(
        printed.contains("shop/web-") && printed.contains("connection_refused"),
        "kubectl tcpwhy tail printed {printed:?}"
    );
    report::status("Seen", "kubectl tcpwhy tail");
    let pod = ["get", "pods", "--namespace", "shop", "--output", "jsonpath={.items[0].metadata.name}"];
    let pod = format!("pod/{}", cluster.kubectl(&pod)?);
    let printed = cluster.kubectl(&["tcpwhy", "why", &pod, "--namespace", "shop"])?;
    ensure!(
        printed.contains("of Deployment web") && printed.contains("Cause"),
        "kubectl tcpwhy why printed {printed:?}"
    );
    report::status("Seen", "kubectl tcpwhy why");
    Ok(())
}

/// The agent says that names may be missing, knows those it had, and finds the server when it is back.
fn without_api(cluster: &Cluster) -> Result<()> {
    cluster.kill("apiserver")?;
    let gone = "tcpwhy_names_up{source=\"kubernetes\"} 0";
    cluster.wait("the agent miss the API server", |cluster| metrics(cluster).contains(gone))?;
    let before = refusals(cluster);
    std::thread::sleep(std::time::Duration::from_secs(OUTAGE));
    ensure!(refusals(cluster) > before, "nothing was reported with names while the API server was gone");
    cluster.restart("apiserver")?;
    let back = "tcpwhy_names_up{source=\"kubernetes\"} 1";
    cluster.wait("the agent find the API server again", |cluster| metrics(cluster).contains(back))
}

fn without_rights(cluster: &Cluster) -> Result<()> {
    cluster.wait("the API server's answers", |cluster| cluster.kubectl(&["get", "nodes"]).is_ok())?;
    cluster.kubectl(&["delete", "clusterrolebinding", "tcpwhy"])?;
    cluster.kubectl(&["delete", "pods", "--all", "--namespace", "tcpwhy"])?;
    cluster.wait("the agent say that it may not list pods", |cluster| said(cluster, "403 Forbidden"))?;
    cluster.wait("it be ready all the same", is_ready)?;
    install(cluster)?;
    cluster.wait("names once it may", |cluster| said(cluster, "names of "))
}

fn without_kubelet(cluster: &Cluster) -> Result<()> {
    cluster.kill("kubelet")?;
    let before = refusals(cluster);
    cluster.wait("refusals reported without a kubelet", |cluster| refusals(cluster) > before)?;
    cluster.restart("kubelet")?;
    cluster.wait("the node ready again", |cluster| {
        cluster.kubectl(&["get", "nodes"]).is_ok_and(|nodes| nodes.contains(" Ready"))
    })?;
    let restarts = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
    let restarts = cluster.kubectl(&["get", "pods", "--namespace", "tcpwhy", "--output", restarts])?;
    ensure!(restarts == "0", "the agent was restarted {restarts} times");
    Ok(())
}

fn said(cluster: &Cluster, text: &str) -> bool {
    cluster
        .kubectl(&["logs", "daemonset/tcpwhy", "--namespace", "tcpwhy"])
        .is_ok_and(|log| log.contains(text))
}

/// Read by the node from the pod's address: the API server may be gone.
fn metrics(cluster: &Cluster) -> String {
    let script = "ip -4 neigh show dev pods0 | while read -r address rest; do
        curl -sf -m 3 http://$address:9752/metrics && break; done";
    cluster.run(&["sh", "-c", script]).unwrap_or_default()
}

/// Resets that pods of the Deployment received so far.
fn refusals(cluster: &Cluster) -> u64 {
    let metrics = metrics(cluster);
    let of_web = metrics
        .lines()
        .filter(|line| line.starts_with("tcpwhy_resets_received_total{namespace=\"shop\",pod=\"web-"));
    of_web.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}
