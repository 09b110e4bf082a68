//! What is read of the API's objects; all else is skipped unread.

use std::collections::BTreeMap;

use agent_model::event::{Owned, Pod};
use serde::Deserialize;

/// Annotation with the hash of a static pod's manifest, which is the UID that its cgroup carries.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";

/// Labels whose value ends the name of a ReplicaSet, and what then owns it.
const HASHES: [(&str, &str); 2] =
    [("pod-template-hash", "Deployment"), ("rollouts-pod-template-hash", "Rollout")];

/// Labels kept of a pod, the first by name: whoever makes pods may give each of them thousands.
const LABELS: usize = 64;

/// Digits of the minute that ends the name of a CronJob's Job (`getJobName`).
const MINUTE_DIGITS: usize = 8;

/// Answer to a list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodList {
    /// Where a watch goes on.
    pub metadata: ListMeta,
    /// The pods.
    pub items: Vec<PodObject>,
}

/// Of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListMeta {
    /// Opaque.
    pub resource_version: String,
}

/// One line of a watch.
#[derive(Debug, Deserialize)]
pub struct WatchLine {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    #[serde(rename = "type")]
    pub kind: String,
    /// A pod, or a status.
    pub object: PodObject,
}

/// A pod, or of an error its status.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodObject {
    /// Who it is.
    pub metadata: Meta,
    status: Status,
    /// HTTP status of an error.
    pub code: u16,
    /// Its words.
    pub message: String,
}

/// Who it is.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    uid: Box<str>,
    namespace: Box<str>,
    name: Box<str>,
    /// Opaque.
    pub resource_version: String,
    labels: Option<BTreeMap<Box<str>, Box<str>>>,
    annotations: Option<BTreeMap<Box<str>, Box<str>>>,
    owner_references: Option<Vec<OwnerReference>>,
}

#[derive(Debug, Deserialize)]
struct OwnerReference {
    kind: Box<str>,
    name: Box<str>,
    #[serde(default)]
    controller: bool,
}

/// An error's status is a word.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Status {
    Pod(Box<PodStatus>),
    Word(serde::de::IgnoredAny),
}

impl Default for Status {
    fn default() -> Self {
        Self::Pod(Box::default())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodStatus {
    #[serde(rename = "initContainerStatuses")]
    init: Option<Vec<ContainerStatus>>,
    #[serde(rename = "containerStatuses")]
    main: Option<Vec<ContainerStatus>>,
    #[serde(rename = "ephemeralContainerStatuses")]
    ephemeral: Option<Vec<ContainerStatus>>,
}

#[derive(Debug, Deserialize)]
struct ContainerStatus {
    name: Box<str>,
    #[serde(default, rename = "containerID")]
    id: Option<Box<str>>,
}

impl PodObject {
    /// What events need of it; `None` if it is no pod.
    pub fn into_pod(self) -> Option<Pod> {
        let Meta { uid, namespace, name, labels, annotations, owner_references, .. } = self.metadata;
        if uid.is_empty() || name.is_empty() {
            return None;
        }
        let labels = labels.unwrap_or_default();
        let config_hash = annotations.and_then(|mut all| all.remove(CONFIG_HASH));
        let owner = owner_references.unwrap_or_default().into_iter().find(|owner| owner.controller);
        let workload = owner.and_then(|OwnerReference { kind, name, .. }| workload(kind, name, &labels));
        let Status::Pod(status) = self.status else { return None };
        let labels = labels.into_iter().take(LABELS).collect();
        Some(Pod { uid, config_hash, namespace, name, workload, labels, containers: status.containers() })
    }
}

impl PodStatus {
    /// `containerd://ID`: the scheme is the runtime's.
    fn containers(self) -> BTreeMap<Box<str>, Box<str>> {
        let Self { init, main, ephemeral } = self;
        let all = [init, main, ephemeral].into_iter().flatten().flatten();
        all.filter_map(|status| Some((status.id?.split_once("://")?.1.into(), status.name))).collect()
    }
}

/// The owner's owner is known from names alone: a Deployment's ReplicaSet is called after it and the pods'
/// hash, a CronJob's Job after it and the minute. A static pod is owned by its node, thus by nobody.
fn workload(kind: Box<str>, name: Box<str>, labels: &BTreeMap<Box<str>, Box<str>>) -> Option<Owned> {
    match &*kind {
        "Node" => None,
        "ReplicaSet" => {
            let parent = HASHES.iter().find_map(|(label, kind)| {
                let parent = name.strip_suffix(&**labels.get(*label)?)?.strip_suffix('-')?;
                Some(Owned { kind: (*kind).into(), name: parent.into() })
            });
            Some(parent.unwrap_or(Owned { kind, name }))
        }
        "Job" => {
            let is_minute =
                |end: &str| end.len() >= MINUTE_DIGITS && end.bytes().all(|byte| byte.is_ascii_digit());
            let parent = name.rsplit_once('-').filter(|(_, end)| is_minute(end)).map(|(parent, _)| parent);
            let parent = parent.map(|parent| Owned { kind: "CronJob".into(), name: parent.into() });
            Some(parent.unwrap_or(Owned { kind, name }))
        }
        _ => Some(Owned { kind, name }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(text: &str) -> Option<Pod> {
        serde_json::from_str::<PodObject>(text).unwrap().into_pod()
    }

    #[test]
    fn a_pod_of_a_deployment() {
        let pod = pod(
            r#"{"kind": "Pod", "metadata": {"uid": "u-1", "namespace": "shop", "name": "web-7d9f4c-x2v5p",
            "resourceVersion": "42", "labels": {"app": "web", "pod-template-hash": "7d9f4c"},
            "annotations": {"kubernetes.io/config.source": "api"}, "managedFields": [{"x": [1, 2]}],
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d9f4c",
                "controller": true, "blockOwnerDeletion": true}]},
            "spec": {"nodeName": "node1", "containers": [{"name": "nginx"}]},
            "status": {"phase": "Running",
                "initContainerStatuses": [{"name": "init", "containerID": "containerd://aa"}],
                "containerStatuses": [{"name": "nginx", "containerID": "cri-o://bb", "ready": true},
                    {"name": "side", "containerID": ""}, {"name": "late"}]}}"#,
        )
        .unwrap();
        let owned = Owned { kind: "Deployment".into(), name: "web".into() };
        assert_eq!((&*pod.namespace, &*pod.name, pod.workload), ("shop", "web-7d9f4c-x2v5p", Some(owned)));
        assert_eq!(pod.containers, [("aa".into(), "init".into()), ("bb".into(), "nginx".into())].into());
        assert_eq!((pod.labels.len(), pod.config_hash), (2, None));
    }

    #[test]
    fn a_pod_with_labels_without_end_keeps_some() {
        let many: Vec<_> = (0..15_000).map(|n| format!(r#""label-{n:05}": "x""#)).collect();
        let labels = format!(r#"{{{}, "pod-template-hash": "7d9f4c"}}"#, many.join(", "));
        let pod = pod(&format!(
            r#"{{"metadata": {{"uid": "u-1", "name": "web-7d9f4c-x2v5p", "labels": {labels}, "ownerReferences":
            [{{"kind": "ReplicaSet", "name": "web-7d9f4c", "controller": true}}]}}}}"#
        ))
        .unwrap();
        assert_eq!(pod.labels.len(), LABELS);
        assert_eq!(
            pod.workload.map(|owned| owned.name),
            Some("web".into()),
            "found before labels are left out"
        );
    }

    #[test]
    fn a_static_pod_has_a_hash_and_no_workload() {
        let pod = pod(r#"{"metadata": {"uid": "u", "name": "etcd-node1", "namespace": "kube-system",
            "annotations": {"kubernetes.io/config.hash": "3f9e0c5d7b1a4e6f8091a2b3c4d5e6f7"},
            "ownerReferences": [{"kind": "Node", "name": "node1", "controller": true}]}}"#)
        .unwrap();
        assert_eq!(pod.config_hash.as_deref(), Some("3f9e0c5d7b1a4e6f8091a2b3c4d5e6f7"));
        assert_eq!(pod.workload, None);
    }

    #[test]
    fn owners_of_owners() {
        let labels = [("pod-template-hash".into(), "7d9f4c".into())].into();
        for (kind, name, expected) in [
            ("ReplicaSet", "web-7d9f4c", "Deployment/web"),
            ("ReplicaSet", "web-other", "ReplicaSet/web-other"),
            ("ReplicaSet", "7d9f4c", "ReplicaSet/7d9f4c"),
            ("Job", "backup-29384756", "CronJob/backup"),
            ("Job", "backup-1", "Job/backup-1"),
            ("Job", "migrate", "Job/migrate"),
            ("StatefulSet", "db", "StatefulSet/db"),
            ("DaemonSet", "node-exporter-20261122", "DaemonSet/node-exporter-20261122"),
        ] {
            let Owned { kind, name } = workload(kind.into(), name.into(), &labels).unwrap();
            assert_eq!(format!("{kind}/{name}"), expected);
        }
    }

    #[test]
    fn what_is_no_pod_is_none() {
        assert_eq!(
            pod(r#"{"kind": "Status", "status": "Failure", "code": 410, "message": "too old"}"#),
            None
        );
        assert_eq!(pod(r#"{"metadata": {"resourceVersion": "43", "labels": null}}"#), None);
    }
}
