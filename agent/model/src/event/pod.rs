//! Names of pods, as the Kubernetes API gives them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// A pod of this node.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// Annotation `kubernetes.io/config.hash`: the UID that the cgroup of a static pod carries.
    pub config_hash: Option<Box<str>>,
    /// Namespace.
    pub namespace: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// What made it, several owner references up.
    pub workload: Option<Owned>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<Box<str>, Box<str>>,
    /// Names of its containers by their ids, of those that have one yet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub containers: BTreeMap<Box<str>, Box<str>>,
}

/// A workload: what a pod belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Owned {
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `CronJob`, ...
    pub kind: Box<str>,
    /// Its name.
    pub name: Box<str>,
}
