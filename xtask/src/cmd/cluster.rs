use std::process::ExitCode;

use anyhow::Result;

use crate::cluster;
use crate::report;
use crate::setup::{self, Purpose};

/// Start a Kubernetes cluster of one node, install the agent, and look what it tells and survives
///
/// Real parts: etcd, API server, controllers, scheduler, kubelet, containerd and runc, in namespaces of their own.
/// Names of pods in metrics, `kubectl tcpwhy`, an API server that is gone for a minute, rights that are taken away, a
/// kubelet that is killed. The first time Kubernetes is compiled, which takes some ten minutes. As root.
#[derive(clap::Args)]
#[command(after_help = "Example: cargo xtask cluster --keep")]
pub struct Cluster {
    /// Let it run until a key is pressed, and say how to get in.
    #[arg(long)]
    keep: bool,
}

impl Cluster {
    pub fn run(self) -> Result<ExitCode> {
        let Self { keep } = self;
        setup::prepare(Purpose::Build)?;
        let cluster = cluster::Cluster::start()?;
        let result = cluster::check(&cluster);
        if keep {
            report::status(
                "Keeping",
                format_args!("it until Enter is pressed; to get in: {}", cluster.way_in()),
            );
            std::io::stdin().read_line(&mut String::new())?;
        }
        result.map(|()| ExitCode::SUCCESS)
    }
}
