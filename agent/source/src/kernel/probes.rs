//! The table of hooks on the running kernel: what becomes of each.

pub use agent_common::signal::{Hook, PROBES, Probe};
use aya::programs::{BtfTracePoint, FEntry, Iter, Program};
use aya::{Btf, Ebpf};
use log::debug;
use serde::Serialize;

use super::{btf, refusal};

/// What became of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "why", rename_all = "snake_case")]
pub enum ProbeState {
    /// Attached, or ready to be run.
    Up,
    /// The kernel does not have the hook.
    Missing,
    /// The kernel has it and refused the program.
    Refused(String),
    /// The kernel refused to look at the program: a privilege is missing.
    NotPermitted,
}

impl ProbeStatus {
    /// Why it is not up.
    pub fn error(&self) -> Option<String> {
        match &self.state {
            ProbeState::Up => None,
            ProbeState::Missing => Some(format!("needs Linux {}", self.probe.since)),
            ProbeState::Refused(why) => Some(why.clone()),
            ProbeState::NotPermitted => Some("not permitted".to_owned()),
        }
    }
}

/// A probe and what became of it.
#[derive(Clone, Debug)]
pub struct ProbeStatus {
    /// Which.
    pub probe: &'static Probe,
    /// What.
    pub state: ProbeState,
}

/// Loads and attaches each program of the table; what fails costs only itself.
pub fn attach_all(ebpf: &mut Ebpf, kernel: &btf::Btf<'_>, aya_btf: &Btf) -> Vec<ProbeStatus> {
    PROBES.iter().map(|probe| ProbeStatus { probe, state: attach(ebpf, probe, kernel, aya_btf) }).collect()
}

fn attach(ebpf: &mut Ebpf, probe: &Probe, kernel: &btf::Btf<'_>, aya_btf: &Btf) -> ProbeState {
    if !exists(probe.hook, kernel) {
        return ProbeState::Missing;
    }
    match try_attach(ebpf, probe, aya_btf) {
        Ok(()) => ProbeState::Up,
        Err(error) => {
            debug!("{}: {error:?}", probe.name);
            if refusal::is_privilege(&error) {
                return ProbeState::NotPermitted;
            }
            ProbeState::Refused(refusal::words(&error))
        }
    }
}

pub(super) fn exists(hook: Hook, kernel: &btf::Btf<'_>) -> bool {
    match hook {
        Hook::Tracepoint(name) => kernel.tracepoint_args(name).is_some_and(|args| args >= least_args(name)),
        // `bpf_sock_from_file` came later than the iterator.
        // The packet is its second.
        Hook::Function(name) => kernel.function_args(name).is_some_and(|args| args >= 2),
        Hook::Iterator(_) => kernel.has_enum_value("bpf_func_id", "BPF_FUNC_sock_from_file"),
    }
}

/// Without its reason, a freed packet says nothing.
fn least_args(tracepoint: &str) -> usize {
    if tracepoint == "kfree_skb" { 3 } else { 0 }
}

fn try_attach(ebpf: &mut Ebpf, probe: &Probe, btf: &Btf) -> anyhow::Result<()> {
    let program: &mut Program =
        ebpf.program_mut(probe.name).ok_or_else(|| anyhow::anyhow!("no such program in the object"))?;
    match probe.hook {
        Hook::Tracepoint(name) => {
            let program: &mut BtfTracePoint = program.try_into()?;
            program.load(name, btf)?;
            program.attach()?;
        }
        Hook::Iterator(name) => {
            let program: &mut Iter = program.try_into()?;
            program.load(name, btf)?;
        }
        Hook::Function(name) => {
            let program: &mut FEntry = program.try_into()?;
            program.load(name, btf)?;
            program.attach()?;
        }
    }
    Ok(())
}
