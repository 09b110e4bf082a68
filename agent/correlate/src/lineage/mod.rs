//! The pod, container or unit that a cgroup's path names. Kubelet, container runtimes and systemd name directories
//! by conventions, so the path alone is enough.
//!
//! ```text
//! cgroupfs   [/kubelet]/kubepods/[besteffort|burstable/]podUID/ID
//! systemd    /kubepods.slice/[kubepods-QOS.slice/]kubepods[-QOS]-podU_I_D.slice/RUNTIME-ID.scope
//! kind       /kubelet.slice/kubelet-kubepods.slice/.../kubelet-kubepods-QOS-podU_I_D.slice/...
//! v1 names   kubepods-QOS-podU_I_D.slice:cri-containerd:ID
//! no pod     /docker/ID, /system.slice/docker-ID.scope, /machine.slice/libpod-ID.scope
//! a unit     /system.slice/ssh.service, /user.slice/user-1000.slice/session-3.scope
//! ```
//!
//! The sources: `pkg/kubelet/cm/cgroup_manager_linux.go` and `pod_container_manager_linux.go` of Kubernetes,
//! and what containerd, CRI-O, Docker and podman were seen to make.

use std::sync::Arc;

/// Digits of a container id.
const ID_DIGITS: usize = 64;

/// Who is inside a cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// UID of the pod with dashes, or the hash of its manifest (32 digits) where it is a static pod.
    pub pod: Option<Arc<str>>,
    /// The container's id, 64 hexadecimal digits.
    pub container: Option<Arc<str>>,
    /// The systemd unit, where there is neither.
    pub unit: Option<Arc<str>>,
}

impl Lineage {
    /// Reads a path. Of nested pods the innermost counts (a cluster inside a container), of nested
    /// containers the outermost (the runtime of the host or of the pod knows no other).
    pub fn parse(path: &str) -> Self {
        let mut found = Self::default();
        for part in path.split(['/', ':']) {
            if let Some(uid) = pod_uid(part) {
                found = Self { pod: Some(uid.into()), ..Self::default() };
            } else if found.container.is_none()
                && let Some(id) = container_id(part)
            {
                found.container = Some(id.into());
            } else if found.unit.is_none() && is_unit(part) {
                found.unit = Some(part.into());
            }
        }
        if found.pod.is_some() || found.container.is_some() {
            found.unit = None;
        }
        found
    }
}

/// Of `podUID`, `kubepods-burstable-podU_I_D.slice` and the like.
fn pod_uid(part: &str) -> Option<String> {
    let uid = match part.strip_suffix(".slice").and_then(|slice| slice.rsplit_once("-pod")) {
        // systemd takes a dash for the separator of two slices, so the driver writes underscores.
        Some((parents, uid)) if parents.split('-').any(|parent| parent == "kubepods") => {
            uid.replace('_', "-")
        }
        Some(_) => return None,
        None => part.strip_prefix("pod")?.to_owned(),
    };
    is_uid(&uid).then_some(uid)
}

/// 8-4-4-4-12 hexadecimal digits, or the 32 of a manifest's hash.
fn is_uid(text: &str) -> bool {
    let lengths: Vec<_> = text.split('-').map(str::len).collect();
    let digits = text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    digits && (lengths == [8, 4, 4, 4, 12] || lengths == [32])
}

/// Of `ID`, `cri-containerd-ID.scope`, `crio-ID`, `docker-ID.scope`, `libpod-ID.scope`; not of
/// `crio-conmon-ID.scope`, which is the runtime's own process.
fn container_id(part: &str) -> Option<&str> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    let id = ["cri-containerd-", "crio-", "docker-", "libpod-", "nerdctl-"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    (id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

fn is_unit(part: &str) -> bool {
    [".service", ".scope"].iter().any(|kind| part.len() > kind.len() && part.ends_with(kind))
}

#[cfg(test)]
mod tests;
