//! Where this process runs: on a host, in a container, in a pod.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use serde_with::skip_serializing_none;

use super::privileges::is_initial;
use super::surroundings::read;

/// Inodes of initial namespaces (include/linux/proc_ns.h), since 3.8.
const INITIAL_PID: u64 = 0xEFFF_FFFC;
const INITIAL_CGROUP: u64 = 0xEFFF_FFFB;

/// Folders where runtimes keep the layers of a container's root file system, in the order of the search: k3s
/// keeps a containerd below a folder of its own.
const STORES: [(&str, Runtime); 3] = [
    ("/docker/", Runtime::Docker),
    ("/containerd/", Runtime::Containerd),
    ("/containers/storage/", Runtime::Podman),
];

/// Who made a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// Docker.
    Docker,
    /// containerd, by a kubelet or nerdctl.
    Containerd,
    /// CRI-O: Podman's layers, in a pod.
    CriO,
    /// Podman.
    Podman,
    /// A container by its namespaces.
    Unknown,
}

/// How the kernel groups processes here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cgroups {
    /// One hierarchy.
    V2,
    /// Controllers in hierarchies of their own, beside an empty one of version 2.
    Hybrid,
    /// Version 1 alone.
    V1,
}

/// Surroundings that decide what can be seen.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Surrounding {
    /// Who made the container, if this is one.
    pub container: Option<Runtime>,
    /// A pod of Kubernetes.
    pub pod: bool,
    /// Processes have the host's ids (`hostPID`).
    pub host_pids: bool,
    /// The layout of cgroups.
    pub cgroups: Cgroups,
}

/// Evidence of a container.
#[derive(Clone, Debug, Default)]
struct Marks {
    mountinfo: String,
    /// `/.dockerenv`
    docker: bool,
    /// `/run/.containerenv`
    podman: bool,
    /// Kubernetes gives every container the address of its API.
    kubernetes: bool,
    /// A cgroup or pid namespace of its own.
    apart: bool,
}

impl Surrounding {
    /// That of this process.
    pub fn here() -> Self {
        let host_pids = is_initial("pid", INITIAL_PID);
        let marks = Marks {
            mountinfo: read("/proc/self/mountinfo").unwrap_or_default(),
            docker: Path::new("/.dockerenv").exists(),
            podman: Path::new("/run/.containerenv").exists(),
            kubernetes: std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
            apart: !host_pids || !is_initial("cgroup", INITIAL_CGROUP),
        };
        let cgroups = cgroups(&read("/proc/self/cgroup").unwrap_or_default());
        Self { container: marks.container(), pod: marks.is_pod(), host_pids, cgroups }
    }
}

impl Marks {
    /// The files of Docker and Podman prove nothing alone: an image that became a virtual machine has them too.
    fn container(&self) -> Option<Runtime> {
        let root = self.mountinfo.lines().find(|line| line.split(' ').nth(4) == Some("/"));
        let store = STORES.into_iter().find(|(store, _)| root.is_some_and(|root| root.contains(store)));
        match store {
            Some((_, Runtime::Podman)) if self.is_pod() => Some(Runtime::CriO),
            Some((_, runtime)) => Some(runtime),
            None if !self.apart => None,
            None if self.docker => Some(Runtime::Docker),
            None if self.podman => Some(Runtime::Podman),
            None => Some(Runtime::Unknown),
        }
    }

    /// The kubelet mounts /etc/hosts and the like from the pod's folder.
    fn is_pod(&self) -> bool {
        self.kubernetes || self.mountinfo.contains("/kubelet/pods/")
    }
}

/// From /proc/self/cgroup: `0::` is version 2, a number and controllers version 1.
fn cgroups(text: &str) -> Cgroups {
    let has_v2 = text.lines().any(|line| line.starts_with("0::"));
    let has_v1 = text.lines().any(|line| !line.starts_with("0::"));
    match (has_v1, has_v2) {
        (true, true) => Cgroups::Hybrid,
        (true, false) => Cgroups::V1,
        (false, _) => Cgroups::V2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooted(options: &str) -> Marks {
        let mountinfo = format!(
            "1 0 8:1 / /proc rw - proc proc rw\n\
             2 1 0:50 / / rw,relatime - overlay overlay rw,lowerdir={options}\n"
        );
        Marks { mountinfo, ..Marks::default() }
    }

    #[test]
    fn a_root_of_layers_tells_whose_container_it_is() {
        let containers = [
            ("/var/lib/docker/overlay2/l/A", Runtime::Docker),
            ("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/1", Runtime::Containerd),
            ("/var/lib/rancher/k3s/agent/containerd/io.containerd.snapshotter/1", Runtime::Containerd),
            ("/var/lib/containers/storage/overlay/l/A", Runtime::Podman),
        ];
        for (root, runtime) in containers {
            assert_eq!(rooted(root).container(), Some(runtime), "{root}");
        }
        let pod = Marks { kubernetes: true, ..rooted("/var/lib/containers/storage/overlay/l/A") };
        assert_eq!((pod.container(), pod.is_pod()), (Some(Runtime::CriO), true));
    }

    #[test]
    fn a_left_over_file_makes_no_container() {
        let host = Marks { docker: true, ..Marks::default() };
        assert_eq!(host.container(), None);
        assert_eq!(Marks { apart: true, ..host }.container(), Some(Runtime::Docker));
        let apart = Marks { apart: true, ..Marks::default() };
        assert_eq!(apart.container(), Some(Runtime::Unknown));
    }

    #[test]
    fn layouts_of_cgroups_are_distinguished() {
        assert_eq!(cgroups("0::/user.slice\n"), Cgroups::V2);
        assert_eq!(cgroups("4:memory:/a\n1:name=systemd:/\n0::/\n"), Cgroups::Hybrid);
        assert_eq!(cgroups("4:memory:/a\n"), Cgroups::V1);
    }
}
