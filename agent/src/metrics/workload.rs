//! The workload whose events a counter counts: the one place where kernel ids become labels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agent_common::count::{Count, CountKey, OTHER_CGROUP};
use agent_correlate::place::Whose;
use agent_model::units::escaped;

use super::example::{Example, Examples};

/// Workloads with series of their own; all further ones share `other`. A host runs at most a few hundred
/// pods, and each workload has some 40 series.
pub(super) const MAX_WORKLOADS: usize = 512;

/// The labels of a workload; none for the host as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload(Option<Arc<[Label]>>);

/// Name and value.
type Label = (&'static str, Box<str>);

/// Which workloads have series of their own. A latecomer stays with `other` for as long as it lives: a move would
/// make the counter of `other` fall.
#[derive(Debug)]
pub(super) struct Admission {
    limit: usize,
    own: BTreeSet<Workload>,
    other: BTreeSet<Workload>,
}

/// What one series shows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sum {
    /// Added up.
    pub(super) count: Count,
    /// The connection that was counted last.
    pub(super) example: Option<Example>,
}

/// Sums by workload, signal and detail.
pub(super) type Counts = BTreeMap<(Workload, u16, u16), Sum>;

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

    /// Labels of the place of the sockets; `None` if it is gone. Sockets that did not fit the kernel side's map are
    /// counted under `other`.
    pub fn of(cgroup: u64, whose: &Whose) -> Option<Self> {
        let place = match whose {
            Whose::Gone => return None,
            Whose::Of(_) if cgroup == OTHER_CGROUP => {
                return Some(Self::new(["namespace", "pod", "container"].map(|name| (name, "other".into()))));
            }
            Whose::Of(place) => place,
        };
        let pod = place.pod().map(|pod| &*pod.name).or(place.pod_uid());
        let labels = [
            ("namespace", place.namespace()),
            ("pod", pod),
            ("container", place.container()),
            ("unit", place.unit()),
        ];
        // Units and cgroups are named by their users: a page of metrics may be looked at in a terminal.
        let labels = labels.into_iter().filter_map(|(name, value)| Some((name, escaped(value?).into())));
        let labels: Arc<[Label]> = labels.collect();
        Some(if labels.is_empty() { Self::HOST } else { Self(Some(labels)) })
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

    /// Workloads that are gone from the kernel's map make room.
    fn forget_all_but(&mut self, present: &BTreeSet<Workload>) {
        self.own.retain(|workload| present.contains(workload));
        self.other.retain(|workload| present.contains(workload));
    }
}

/// Adds up the counters of cgroups and network namespaces; returns the sums, and the keys of those that are gone.
pub(super) fn aggregate(
    counts: &[(CountKey, Count)],
    workloads: &[Option<Workload>],
    examples: &Examples,
    admission: &mut Admission,
) -> (Counts, Vec<CountKey>) {
    admission.forget_all_but(&workloads.iter().flatten().cloned().collect());
    let (mut sums, mut gone) = (Counts::new(), Vec::new());
    for ((key, count), workload) in counts.iter().zip(workloads) {
        let Some(workload) = workload else {
            gone.push(*key);
            continue;
        };
        let sum = sums.entry((admission.admit(workload.clone()), key.signal, key.detail)).or_default();
        sum.add(&Sum { count: *count, example: examples.of(key) });
    }
    (sums, gone)
}

impl Sum {
    pub(super) fn add(&mut self, other: &Self) {
        let Self { count: Count { events, segments, bytes }, example } = *other;
        self.count.events += events;
        self.count.segments += segments;
        self.count.bytes += bytes;
        let newest = [self.example, example].into_iter().flatten().max_by_key(|example| example.realtime);
        self.example = newest;
    }
}

#[cfg(test)]
mod tests {
    use agent_correlate::place::Place;

    use super::*;
    use crate::schema::sample;

    fn counts(cgroups: &[u64]) -> Vec<(CountKey, Count)> {
        let key = |&cgroup| CountKey { cgroup, netns: 1, signal: 3, detail: 1 };
        cgroups.iter().map(|cgroup| (key(cgroup), Count { events: 1, segments: 0, bytes: 0 })).collect()
    }

    fn sums(cgroups: &[u64], workload: fn(u64) -> Workload, admission: &mut Admission) -> Counts {
        let workloads: Vec<_> = cgroups.iter().map(|cgroup| Some(workload(*cgroup))).collect();
        aggregate(&counts(cgroups), &workloads, &Examples::default(), admission).0
    }

    fn pod(cgroup: u64) -> Workload {
        Workload::new([("pod", cgroup.to_string().into())])
    }

    fn events(counts: &Counts) -> Vec<(String, u64)> {
        let label = |workload: &Workload| workload.labels().map(|(_, value)| value.to_owned()).collect();
        counts.iter().map(|((workload, ..), sum)| (label(workload), sum.count.events)).collect()
    }

    #[test]
    fn one_host_has_one_series() {
        let sums = sums(&[1, 2, u64::MAX], |_| Workload::HOST, &mut Admission::default());
        assert_eq!(events(&sums), [(String::new(), 3)]);
    }

    #[test]
    fn latecomers_share_other_and_stay_there() {
        let mut admission = Admission::new(2);
        let first = sums(&[7, 8], pod, &mut admission);
        assert_eq!(events(&first), [("7".to_owned(), 1), ("8".to_owned(), 1)]);
        let more = sums(&[1, 7, 8, 9], pod, &mut admission);
        assert_eq!(events(&more), [("7".to_owned(), 1), ("8".to_owned(), 1), ("other".to_owned(), 2)]);
        let gone = sums(&[1, 8, 10], pod, &mut admission);
        assert_eq!(events(&gone), [("10".to_owned(), 1), ("8".to_owned(), 1), ("other".to_owned(), 1)]);
    }

    #[test]
    fn who_is_gone_has_no_series() {
        let workloads = [Some(pod(7)), None];
        let (sums, gone) =
            aggregate(&counts(&[7, 8]), &workloads, &Examples::default(), &mut Admission::default());
        assert_eq!(events(&sums), [("7".to_owned(), 1)]);
        assert_eq!(gone.iter().map(|key| key.cgroup).collect::<Vec<_>>(), [8]);
    }

    fn labels(cgroup: u64, place: Place) -> Vec<(&'static str, String)> {
        let workload = Workload::of(cgroup, &Whose::Of(place)).unwrap();
        workload.0.iter().flat_map(|all| all.iter()).map(|(name, value)| (*name, value.to_string())).collect()
    }

    #[test]
    fn places_become_labels() {
        let pod = sample::place();
        let named = [("namespace", "shop"), ("pod", "web-7d9f4c-x2v5p"), ("container", "nginx")];
        assert_eq!(labels(7, pod), named.map(|(name, value)| (name, value.to_owned())));
        let uid = "9a64b8de-3f56-4f7c-8a0a-1d2f3a4b5c6d";
        assert_eq!(labels(7, Place::of(&format!("/kubepods/pod{uid}"), None)), [("pod", uid.to_owned())]);
        assert_eq!(labels(7, Place::of("/system.slice/a.service", None)), [("unit", "a.service".to_owned())]);
        let hostile = Place::of("/system.slice/a\u{1b}[31m\u{202e}.service", None);
        assert_eq!(labels(7, hostile), [("unit", r"a\u{1b}[31m\u{202e}.service".to_owned())]);
        assert_eq!(labels(7, Place::default()), []);
        assert_eq!(labels(OTHER_CGROUP, Place::default())[1], ("pod", "other".to_owned()));
        assert_eq!(Workload::of(7, &Whose::Gone), None);
    }
}
