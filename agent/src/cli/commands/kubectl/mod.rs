//! `tcpwhy kubectl`, which as `kubectl-tcpwhy` is a plugin of kubectl: `kubectl tcpwhy tail pod/web-0 -n shop`.

mod cluster;
mod ends;
mod merge;
mod tail;
mod target;
mod why;

use std::ffi::OsString;
use std::path::Path;

use clap::{Args, Subcommand};

pub(in crate::cli) use self::why::NodeReport;

/// Name of this program among the plugins of kubectl.
const PLUGIN: &str = "kubectl-tcpwhy";

/// Ask the agents of a cluster, through kubectl.
///
/// In the path under the name `kubectl-tcpwhy`, this program is a plugin: `kubectl tcpwhy tail`. It finds the agents'
/// pods and runs `tcpwhy` in them by `kubectl exec`: the cluster, the user and what they may do are kubectl's.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  tcpwhy kubectl tail pod/web-7d9f4c-x2v5p -n shop
                                          events of one pod, from the agent of its node
  kubectl tcpwhy tail pod/web-7d9f4c-x2v5p -n shop --all-nodes
                                          and what other nodes see of its connections
  kubectl tcpwhy tail deployment/web -n shop --diagnoses
                                          why connections of its pods stalled or died, on all nodes
  kubectl tcpwhy why pod/web-7d9f4c-x2v5p -n shop
                                          its last connection with trouble, told from both ends
  kubectl tcpwhy why 192.0.2.7:41022      the connection with this end

  ln -s $(command -v tcpwhy) ~/.local/bin/kubectl-tcpwhy    makes it a plugin

Exit status: 0 told, 1 kubectl or all agents failed or no connection matches, 64 wrong usage.")]
pub(in crate::cli) struct Kubectl {
    #[command(subcommand)]
    asked: Asked,
}

#[derive(Clone, Debug, Subcommand)]
enum Asked {
    Tail(Box<tail::Tail>),
    Why(why::Why),
}

impl Kubectl {
    pub(in crate::cli) fn run(self) -> anyhow::Result<()> {
        match self.asked {
            Asked::Tail(tail) => tail.run(),
            Asked::Why(why) => why.run(),
        }
    }
}

/// `kubectl-tcpwhy tail` is `tcpwhy kubectl tail`.
pub(in crate::cli) fn as_plugin(mut args: Vec<OsString>) -> Vec<OsString> {
    let name = args.first().and_then(|program| Path::new(program).file_stem());
    if name.is_some_and(|name| name == PLUGIN) {
        args.insert(1, "kubectl".into());
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_makes_the_plugin() {
        let args = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let wanted = args(&["/opt/bin/kubectl-tcpwhy", "kubectl", "tail"]);
        assert_eq!(as_plugin(args(&["/opt/bin/kubectl-tcpwhy", "tail"])), wanted);
        assert_eq!(as_plugin(args(&["tcpwhy", "tail"])), args(&["tcpwhy", "tail"]));
        assert_eq!(as_plugin(Vec::new()), Vec::<OsString>::new());
    }
}
