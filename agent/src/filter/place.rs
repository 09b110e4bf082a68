//! Which places in the cluster a reader wants: the filters by namespace, pod, container, workload and labels.

use std::fmt;
use std::str::FromStr;

use agent_correlate::place::Place;

use super::selector::LabelSelector;

/// One condition on where a socket lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Where {
    /// Namespace of the pod.
    Namespace(String),
    /// The pod's name, with or without its namespace (`shop/web-7d9f`), or its UID.
    Pod(String),
    /// The container's name, or how its id begins.
    Container(String),
    /// What the pod belongs to, with or without its kind: `web`, `deployment/web`.
    Workload(String),
    /// The pod's labels.
    Labels(LabelSelector),
}

/// Conditions: those of one sort are alternatives, all sorts must hold; none wants all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wheres(pub Vec<Where>);

/// Digits of a container id that are enough to identify it.
const SHORTEST_ID: usize = 6;

impl Where {
    /// Names of the parameters, the same as the flags'.
    pub const PARAMETERS: [&str; 5] = ["namespace", "pod", "container", "workload", "selector"];

    /// Reads a parameter; `None` if it has another name.
    pub fn parse(name: &str, value: &str) -> Option<Result<Self, <LabelSelector as FromStr>::Err>> {
        let value_of = || value.to_owned();
        Some(Ok(match name {
            "namespace" => Self::Namespace(value_of()),
            "pod" => Self::Pod(value_of()),
            "container" => Self::Container(value_of()),
            "workload" => Self::Workload(value_of()),
            "selector" => return Some(value.parse().map(Self::Labels)),
            _ => return None,
        }))
    }

    /// Name of its parameter.
    pub fn parameter(&self) -> &'static str {
        Self::PARAMETERS[self.sort()]
    }

    fn sort(&self) -> usize {
        match self {
            Self::Namespace(_) => 0,
            Self::Pod(_) => 1,
            Self::Container(_) => 2,
            Self::Workload(_) => 3,
            Self::Labels(_) => 4,
        }
    }

    /// Whether the place meets it. What has no name yet meets no name.
    pub fn matches(&self, place: &Place) -> bool {
        match self {
            Self::Namespace(wanted) => place.namespace() == Some(wanted),
            Self::Pod(wanted) => is_pod(place, wanted),
            Self::Container(wanted) => {
                let by_id = |id: &str| wanted.len() >= SHORTEST_ID && id.starts_with(wanted.as_str());
                place.container() == Some(wanted) || place.container_id().is_some_and(by_id)
            }
            Self::Workload(wanted) => place.workload().is_some_and(|workload| match wanted.split_once('/') {
                Some((kind, name)) => workload.kind.eq_ignore_ascii_case(kind) && *workload.name == *name,
                None => *workload.name == **wanted,
            }),
            Self::Labels(selector) => place.pod().is_some_and(|pod| selector.matches(&pod.labels)),
        }
    }
}

fn is_pod(place: &Place, wanted: &str) -> bool {
    let named = place.pod().is_some_and(|pod| match wanted.split_once('/') {
        Some((namespace, name)) => *pod.namespace == *namespace && *pod.name == *name,
        None => *pod.name == *wanted,
    });
    named || place.pod_uid() == Some(wanted)
}

impl Wheres {
    /// Whether the place meets them.
    pub fn matches(&self, place: &Place) -> bool {
        (0..Where::PARAMETERS.len()).all(|sort| {
            let mut alternatives = self.0.iter().filter(|one| one.sort() == sort).peekable();
            alternatives.peek().is_none() || alternatives.any(|one| one.matches(place))
        })
    }
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(value) | Self::Pod(value) | Self::Container(value) | Self::Workload(value) => {
                f.write_str(value)
            }
            Self::Labels(selector) => write!(f, "{selector}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::sample;

    fn matches(conditions: &[(&str, &str)]) -> bool {
        let conditions = conditions.iter().map(|(name, value)| Where::parse(name, value).unwrap().unwrap());
        Wheres(conditions.collect()).matches(&sample::place())
    }

    #[test]
    fn each_condition_holds_or_not() {
        for (name, holds, not) in [
            ("namespace", "shop", "sho"),
            ("pod", "web-7d9f4c-x2v5p", "web"),
            ("pod", "shop/web-7d9f4c-x2v5p", "blog/web-7d9f4c-x2v5p"),
            ("pod", "9a64b8de-3f56-4f7c-8a0a-1d2f3a4b5c6d", "9a64b8de"),
            ("container", "nginx", "ngin"),
            ("container", "012345", "01234"),
            ("workload", "web", "we"),
            ("workload", "deployment/web", "job/web"),
            ("selector", "app=web,tier!=back", "app=db"),
        ] {
            assert!(matches(&[(name, holds)]), "{name}={holds}");
            assert!(!matches(&[(name, not)]), "{name}={not}");
        }
    }

    #[test]
    fn one_sort_gives_alternatives_and_all_sorts_must_hold() {
        assert!(matches(&[]));
        assert!(matches(&[("namespace", "blog"), ("namespace", "shop")]));
        assert!(!matches(&[("namespace", "shop"), ("container", "db")]));
    }

    #[test]
    fn nowhere_meets_no_condition() {
        for name in Where::PARAMETERS {
            let condition = Where::parse(name, "a").unwrap().unwrap();
            assert!(!Wheres(vec![condition]).matches(&Place::default()), "{name}");
        }
    }
}
