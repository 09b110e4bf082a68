//! Where a socket lives, on a line.

use agent_correlate::place;
use agent_model::event::Owned;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// Where a socket lives: what is known of it.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlaceNames {
    /// Namespace of the pod.
    pub namespace: Option<String>,
    /// Its name.
    pub pod: Option<String>,
    /// Its UID as its cgroup carries it.
    pub pod_uid: Option<String>,
    /// What the pod belongs to.
    pub workload: Option<Owned>,
    /// The container's name, or the first digits of its id.
    pub container: Option<String>,
    /// Its id.
    pub container_id: Option<String>,
    /// systemd unit, outside any container.
    pub unit: Option<String>,
    /// The event has no socket: known by the network namespace, which is one pod's own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inferred: bool,
}

impl PlaceNames {
    /// `None` if nothing is known.
    pub(crate) fn new(place: &place::Place) -> Option<Self> {
        let text = |text: Option<&str>| text.map(ToOwned::to_owned);
        let known = || Self {
            namespace: text(place.namespace()),
            pod: text(place.pod().map(|pod| &*pod.name)),
            pod_uid: text(place.pod_uid()),
            workload: place.workload().cloned(),
            container: text(place.container()),
            container_id: text(place.container_id()),
            unit: text(place.unit()),
            inferred: place.inferred,
        };
        (!place.is_nowhere()).then(known)
    }

    /// `shop/web-7d9f/nginx`, `pod 9a64b8de/0123456789ab`, `container 0123456789ab`; a unit is left to the
    /// process's name.
    pub fn short(&self) -> Option<String> {
        let pod = match (&self.namespace, &self.pod, &self.pod_uid) {
            (Some(namespace), Some(pod), _) => Some(format!("{namespace}/{pod}")),
            (.., Some(uid)) => Some(format!("pod {}", uid.get(..8).unwrap_or(uid))),
            _ => None,
        };
        match (pod, &self.container) {
            (Some(pod), Some(container)) => Some(format!("{pod}/{container}")),
            (Some(pod), None) => Some(pod),
            (None, Some(container)) => Some(format!("container {container}")),
            (None, None) => None,
        }
    }
}
