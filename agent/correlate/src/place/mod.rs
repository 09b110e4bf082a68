//! Where sockets live: in a container of a pod, in a container, in a systemd unit, or nowhere in particular.
//!
//! A socket has the cgroup of the process that made it, the cgroup has a path, the path has the ids of pod and
//! container, and the Kubernetes API knows their names. Each step may come late or never: an answer has whatever is
//! known when it is made, so names that come late also apply to earlier events.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use agent_model::event::{Endpoint, Owned, Pod};
use agent_model::limits::{NAMED_CGROUPS, PODS, TENANTS};

use super::lineage::Lineage;

/// Digits of a container id that people read.
const SHORT_ID: usize = 12;

/// Where a socket lives, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    lineage: Lineage,
    pod: Option<Arc<Pod>>,
    /// Known by the network namespace alone, which is the pod's own: the event has no socket.
    pub inferred: bool,
}

/// What is known of cgroups, pods and network namespaces.
#[derive(Debug)]
pub struct Places {
    cgroups: HashMap<u64, Cgroup>,
    pods: HashMap<Box<str>, Known>,
    /// From the hash that a static pod's cgroup carries to the UID that the API knows.
    hashes: HashMap<Box<str>, Box<str>>,
    tenants: HashMap<u32, Tenant>,
    gone: VecDeque<(u64, Gone)>,
    keep: u64,
    evicted: u64,
}

#[derive(Debug)]
struct Cgroup {
    lineage: Lineage,
    gone: bool,
}

#[derive(Debug)]
struct Known {
    pod: Arc<Pod>,
    gone: bool,
}

/// Whose a network namespace is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tenant {
    /// All sockets seen in it are of this pod.
    Pod(Arc<str>),
    /// The pod ended; the inode will name another namespace soon.
    Gone,
    /// Sockets of several, as in the host's own.
    Many,
}

#[derive(Debug)]
enum Gone {
    Cgroup(u64),
    Pod(Box<str>),
}

/// The place of a counter's cgroup or network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The place exists, or is none in particular.
    Of(Place),
    /// The place is gone.
    Gone,
}

impl Place {
    /// Nothing is known.
    pub fn is_nowhere(&self) -> bool {
        self.lineage == Lineage::default()
    }

    /// The pod, once the API has named it.
    pub fn pod(&self) -> Option<&Pod> {
        self.pod.as_deref()
    }

    /// Its UID as its cgroup carries it.
    pub fn pod_uid(&self) -> Option<&str> {
        self.lineage.pod.as_deref()
    }

    /// The pod's namespace.
    pub fn namespace(&self) -> Option<&str> {
        self.pod().map(|pod| &*pod.namespace)
    }

    /// What the pod belongs to.
    pub fn workload(&self) -> Option<&Owned> {
        self.pod()?.workload.as_ref()
    }

    /// The container's id.
    pub fn container_id(&self) -> Option<&str> {
        self.lineage.container.as_deref()
    }

    /// The container's name, or the first digits of its id where no name is known.
    pub fn container(&self) -> Option<&str> {
        let id = self.container_id()?;
        let name = self.pod().and_then(|pod| pod.containers.get(id)).map(|name| &**name);
        Some(name.unwrap_or(&id[..SHORT_ID.min(id.len())]))
    }

    /// The systemd unit.
    pub fn unit(&self) -> Option<&str> {
        self.lineage.unit.as_deref()
    }

    /// In a cgroup at `path`, for tests.
    #[cfg(any(test, feature = "fixture"))]
    pub fn of(path: &str, pod: Option<Pod>) -> Self {
        Self { lineage: Lineage::parse(path), pod: pod.map(Arc::new), inferred: false }
    }
}

impl Places {
    /// Keeps names of what is gone for `keep`.
    pub fn new(keep: Duration) -> Self {
        Self {
            cgroups: HashMap::new(),
            pods: HashMap::new(),
            hashes: HashMap::new(),
            tenants: HashMap::new(),
            gone: VecDeque::new(),
            keep: nanos(keep),
            evicted: 0,
        }
    }

    /// Changes how long names of what is gone are kept.
    pub fn set_keep(&mut self, keep: Duration) {
        self.keep = nanos(keep);
    }

    /// Names forgotten or not taken in for want of space.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// A cgroup was found.
    pub fn add_cgroup(&mut self, id: u64, path: &str) {
        if self.has_room(|places| places.cgroups.len() >= NAMED_CGROUPS) {
            self.cgroups.insert(id, Cgroup { lineage: Lineage::parse(path), gone: false });
        }
    }

    /// A cgroup was removed a while ago.
    pub fn end_cgroup(&mut self, id: u64, time: u64) {
        let Some(cgroup) = self.cgroups.get_mut(&id).filter(|cgroup| !cgroup.gone) else { return };
        cgroup.gone = true;
        self.gone.push_back((time, Gone::Cgroup(id)));
        let Some(pod) = cgroup.lineage.pod.clone() else { return };
        let lives = |cgroup: &Cgroup| !cgroup.gone && cgroup.lineage.pod.as_ref() == Some(&pod);
        if !self.cgroups.values().any(lives) {
            let tenants = self.tenants.values_mut();
            tenants.filter(|tenant| **tenant == Tenant::Pod(Arc::clone(&pod))).for_each(|tenant| {
                *tenant = Tenant::Gone;
            });
        }
    }

    /// A pod is new or has changed.
    pub fn add_pod(&mut self, pod: Pod) {
        if !self.pods.contains_key(&pod.uid) && !self.has_room(|places| places.pods.len() >= PODS) {
            return;
        }
        if let Some(hash) = &pod.config_hash {
            self.hashes.insert(hash.clone(), pod.uid.clone());
        }
        self.pods.insert(pod.uid.clone(), Known { pod: Arc::new(pod), gone: false });
    }

    /// A pod was deleted.
    pub fn end_pod(&mut self, uid: &str, time: u64) {
        let Some(known) = self.pods.get_mut(uid).filter(|known| !known.gone) else { return };
        known.gone = true;
        self.gone.push_back((time, Gone::Pod(uid.into())));
    }

    /// Makes room by forgetting what is gone longest.
    fn has_room(&mut self, is_full: impl Fn(&Self) -> bool) -> bool {
        while is_full(self) {
            self.evicted += 1;
            let Some((_, gone)) = self.gone.pop_front() else { return false };
            self.forget(&gone);
        }
        true
    }

    /// Forgets what is gone for too long at `now`.
    pub fn expire(&mut self, now: u64) {
        while self.gone.front().is_some_and(|(time, _)| time.saturating_add(self.keep) < now) {
            let Some((_, gone)) = self.gone.pop_front() else { return };
            self.forget(&gone);
        }
    }

    fn forget(&mut self, gone: &Gone) {
        match gone {
            Gone::Cgroup(id) => drop(self.cgroups.remove(id)),
            Gone::Pod(uid) if self.pods.get(uid).is_some_and(|known| known.gone) => {
                let hash = self.pods.remove(uid).and_then(|known| known.pod.config_hash.clone());
                if let Some(hash) = hash.filter(|hash| self.hashes.get(hash) == Some(uid)) {
                    self.hashes.remove(&hash);
                }
            }
            // It came back: a static pod keeps its UID over a restart of the API server.
            Gone::Pod(_) => (),
        }
    }

    /// Learns whose network namespace it is from a socket in it.
    pub fn learn(&mut self, endpoint: &Endpoint) {
        let Some(cgroup) = endpoint.cgroup.and_then(|id| self.cgroups.get(&id)) else { return };
        let known = self.tenants.get(&endpoint.netns);
        let tenant = match (known, &cgroup.lineage.pod) {
            (Some(Tenant::Many), _) => return,
            (Some(Tenant::Pod(known)), Some(pod)) if known == pod => return,
            (None | Some(Tenant::Gone), Some(pod)) => Tenant::Pod(Arc::clone(pod)),
            (None | Some(Tenant::Pod(_) | Tenant::Gone), _) => Tenant::Many,
        };
        if known.is_some() || self.tenants.len() < TENANTS {
            self.tenants.insert(endpoint.netns, tenant);
        }
    }

    /// Where a socket lives, or lived; without a socket (`cgroup` is 0 or `None`) where its network
    /// namespace is one pod's own.
    pub fn place(&self, cgroup: Option<u64>, netns: u32) -> Place {
        match cgroup.filter(|id| *id != 0) {
            Some(id) => self.cgroups.get(&id).map(|cgroup| self.named(cgroup.lineage.clone(), false)),
            None => match self.tenants.get(&netns) {
                Some(Tenant::Pod(uid)) => {
                    Some(self.named(Lineage { pod: Some(Arc::clone(uid)), ..Lineage::default() }, true))
                }
                Some(Tenant::Gone | Tenant::Many) | None => None,
            },
        }
        .unwrap_or_default()
    }

    fn named(&self, lineage: Lineage, inferred: bool) -> Place {
        let pod = lineage.pod.as_deref().and_then(|uid| self.pod(uid));
        Place { lineage, pod: pod.cloned(), inferred }
    }

    fn pod(&self, uid: &str) -> Option<&Arc<Pod>> {
        let known = self.pods.get(uid).or_else(|| self.pods.get(self.hashes.get(uid)?))?;
        Some(&known.pod)
    }

    /// Where the processes of a cgroup with this path live, whatever its hierarchy.
    pub fn place_of_path(&self, path: &str) -> Place {
        self.named(Lineage::parse(path), false)
    }

    /// Whose counter it is.
    pub fn whose(&self, cgroup: u64, netns: u32) -> Whose {
        let gone = match cgroup {
            0 => self.tenants.get(&netns) == Some(&Tenant::Gone),
            id => self.cgroups.get(&id).is_some_and(|cgroup| cgroup.gone),
        };
        if gone { Whose::Gone } else { Whose::Of(self.place(Some(cgroup), netns)) }
    }

    /// What the living pods belong to.
    pub fn workloads(&self) -> BTreeMap<(Box<str>, Box<str>), Owned> {
        let living = self.pods.values().filter(|known| !known.gone).map(|known| &known.pod);
        let owned =
            living.filter_map(|pod| Some(((pod.namespace.clone(), pod.name.clone()), pod.workload.clone()?)));
        owned.collect()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
