//! Whose events a counter counts: the one place where kernel ids become labels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agent_common::count::{Count, CountKey};

/// Workloads with series of their own; all further ones share `other`. A host runs at most a few hundred
/// pods, and each workload has some 40 series.
const MAX_WORKLOADS: usize = 512;

/// Labels that say whose events these are; none for the host as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload(Option<Arc<[Label]>>);

/// Name and value.
type Label = (&'static str, Box<str>);

/// Finds the workload of a counter's cgroup and network namespace.
pub type Resolve = dyn Fn(&CountKey) -> Workload + Send + Sync;

/// Which workloads have series of their own. Whoever came late stays with `other` for as long as it
/// lives: a move would make the counter of `other` fall.
#[derive(Debug)]
pub(super) struct Admission {
    limit: usize,
    own: BTreeSet<Workload>,
    other: BTreeSet<Workload>,
}

/// Sums by workload, signal and detail.
pub(super) type Counts = BTreeMap<(Workload, u16, u16), Count>;

impl Workload {
    /// The whole host.
    pub const HOST: Self = Self(None);

    /// A workload with labels.
    pub fn new(labels: impl IntoIterator<Item = (&'static str, Box<str>)>) -> Self {
        Self(Some(labels.into_iter().collect()))
    }

    /// Its labels.
    pub fn labels(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().flat_map(|labels| labels.iter()).map(|(name, value)| (*name, &**value))
    }

    fn other(&self) -> Self {
        Self(self.0.as_ref().map(|labels| labels.iter().map(|(name, _)| (*name, "other".into())).collect()))
    }
}

impl Default for Admission {
    fn default() -> Self {
        Self::new(MAX_WORKLOADS)
    }
}

impl Admission {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, own: BTreeSet::new(), other: BTreeSet::new() }
    }

    fn admit(&mut self, workload: Workload) -> Workload {
        if self.own.contains(&workload) {
            return workload;
        }
        if self.own.len() < self.limit && !self.other.contains(&workload) {
            self.own.insert(workload.clone());
            return workload;
        }
        let other = workload.other();
        self.other.insert(workload);
        other
    }

    /// Who is gone from the kernel's map makes room.
    fn forget_all_but(&mut self, present: &BTreeSet<Workload>) {
        self.own.retain(|workload| present.contains(workload));
        self.other.retain(|workload| present.contains(workload));
    }
}

/// Adds up what the kernel counts by cgroup and network namespace.
pub(super) fn aggregate(
    counts: &[(CountKey, Count)],
    resolve: &Resolve,
    admission: &mut Admission,
) -> Counts {
    let resolved: Vec<_> = counts.iter().map(|(key, count)| (resolve(key), key, count)).collect();
    admission.forget_all_but(&resolved.iter().map(|(workload, ..)| workload.clone()).collect());
    let mut sums = Counts::new();
    for (workload, key, count) in resolved {
        let sum = sums.entry((admission.admit(workload), key.signal, key.detail)).or_default();
        add(sum, count);
    }
    sums
}

/// `sum += count`
pub(super) fn add(sum: &mut Count, count: &Count) {
    let Count { events, segments, bytes } = count;
    sum.events += events;
    sum.segments += segments;
    sum.bytes += bytes;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(cgroups: &[u64]) -> Vec<(CountKey, Count)> {
        let key = |&cgroup| CountKey { cgroup, netns: 1, signal: 3, detail: 1 };
        cgroups.iter().map(|cgroup| (key(cgroup), Count { events: 1, segments: 0, bytes: 0 })).collect()
    }

    fn pod(key: &CountKey) -> Workload {
        Workload::new([("pod", key.cgroup.to_string().into())])
    }

    fn events(counts: &Counts) -> Vec<(String, u64)> {
        let label = |workload: &Workload| workload.labels().map(|(_, value)| value.to_owned()).collect();
        counts.iter().map(|((workload, ..), count)| (label(workload), count.events)).collect()
    }

    #[test]
    fn one_host_has_one_series() {
        let sums = aggregate(&counts(&[1, 2, u64::MAX]), &|_| Workload::HOST, &mut Admission::default());
        assert_eq!(events(&sums), [(String::new(), 3)]);
    }

    #[test]
    fn latecomers_share_other_and_stay_there() {
        let mut admission = Admission::new(2);
        let first = aggregate(&counts(&[7, 8]), &pod, &mut admission);
        assert_eq!(events(&first), [("7".to_owned(), 1), ("8".to_owned(), 1)]);
        let more = aggregate(&counts(&[1, 7, 8, 9]), &pod, &mut admission);
        assert_eq!(events(&more), [("7".to_owned(), 1), ("8".to_owned(), 1), ("other".to_owned(), 2)]);
        let gone = aggregate(&counts(&[1, 8, 10]), &pod, &mut admission);
        assert_eq!(events(&gone), [("10".to_owned(), 1), ("8".to_owned(), 1), ("other".to_owned(), 1)]);
    }
}
