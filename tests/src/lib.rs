//! The lab: network namespaces of a test's own, and every event caused for real in them.
//!
//! A test makes a [`link::Pair`] of hosts, lets a function of [`scenes`] cause one event, and
//! compares what it gets back, the truth, with what the agent said ([`agent`]). The kernel's own
//! counters ([`snmp`]) prove the scenes without any agent: see `tests/lab.rs`.

pub mod actor;
pub mod agent;
pub mod bpf;
pub mod cgroup;
pub mod cluster;
pub mod dashboards;
pub mod demo;
pub mod ethtool;
pub mod flood;
pub mod foreseen;
pub mod kube;
pub mod link;
pub mod live;
pub mod machine;
pub mod netns;
pub mod oci;
pub mod pod;
pub mod raw;
pub mod scenes;
pub mod skip;
pub mod snmp;
pub mod tcp;
pub mod terminal;
pub mod wait;
pub mod witness;
