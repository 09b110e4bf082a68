//! The flags that choose places in a cluster.

use clap::Args;

use crate::filter::place::{Where, Wheres};
use crate::filter::selector::LabelSelector;

/// Where the socket lives. Names come from the Kubernetes API: see `tcpwhy agent --help`.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Filters in a cluster")]
pub(in crate::cli) struct PlaceArgs {
    /// Namespace of the pod.
    #[arg(short, long, value_delimiter = ',')]
    namespace: Vec<String>,
    /// Pod: its name, NAMESPACE/NAME, or its UID.
    #[arg(long, value_delimiter = ',')]
    pod: Vec<String>,
    /// Container: its name, or how its id begins (at least 6 digits).
    #[arg(long, value_delimiter = ',')]
    container: Vec<String>,
    /// What the pod belongs to: `web`, `deployment/web`, `cronjob/backup`.
    #[arg(long, value_delimiter = ',')]
    workload: Vec<String>,
    /// Labels of the pod, as for `kubectl -l`: `app=web,tier!=cache,env in (a,b),!canary`.
    #[arg(short = 'l', long)]
    selector: Vec<LabelSelector>,
}

impl PlaceArgs {
    /// Names of the flags, for groups.
    pub(in crate::cli) const NAMES: [&str; 5] = Where::PARAMETERS;

    /// The first namespace that is given.
    pub(in crate::cli) fn namespace(&self) -> Option<&str> {
        self.namespace.first().map(String::as_str)
    }
}

impl From<PlaceArgs> for Wheres {
    fn from(args: PlaceArgs) -> Self {
        let PlaceArgs { namespace, pod, container, workload, selector } = args;
        let conditions = namespace.into_iter().map(Where::Namespace);
        let conditions = conditions.chain(pod.into_iter().map(Where::Pod));
        let conditions = conditions.chain(container.into_iter().map(Where::Container));
        let conditions = conditions.chain(workload.into_iter().map(Where::Workload));
        Self(conditions.chain(selector.into_iter().map(Where::Labels)).collect())
    }
}
