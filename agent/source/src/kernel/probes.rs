//! The table of hooks: what each is for, since when, and what is lost without it.

use aya::programs::{BtfTracePoint, Iter, Program};
use aya::{Btf, Ebpf};
use log::debug;
use serde::Serialize;

use super::{btf, refusal};

/// How a program is attached. All by bpf() alone: `perf_event_open` is refused to CAP_PERFMON on stock
/// Debian and Ubuntu (`kernel.perf_event_paranoid` 3 and 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `tp_btf/NAME`
    Tracepoint(&'static str),
    /// `iter/NAME`, run on demand.
    Iterator(&'static str),
}

/// A hook and its program.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// The program's name, which is the signal's word.
    pub name: &'static str,
    /// Where it sits.
    pub hook: Hook,
    /// First kernel that has it, with all that the program calls.
    pub since: &'static str,
    /// Without it the agent does not start.
    pub required: bool,
    /// What is lost without it.
    pub without: &'static str,
}

/// Every probe, in the order of `agent_common::signal`; then those that only count.
pub const PROBES: &[Probe] = &[
    Probe {
        name: "retransmit",
        hook: Hook::Tracepoint("tcp_retransmit_skb"),
        since: "5.10",
        required: true,
        without: "retransmissions, stalls and their deadlines",
    },
    Probe {
        name: "synack_retransmit",
        hook: Hook::Tracepoint("tcp_retransmit_synack"),
        since: "5.10",
        required: false,
        without: "retransmitted SYN-ACKs of half-open connections",
    },
    Probe {
        name: "reset_sent",
        hook: Hook::Tracepoint("tcp_send_reset"),
        since: "5.10",
        required: true,
        without: "resets that this host sends",
    },
    Probe {
        name: "reset_received",
        hook: Hook::Tracepoint("tcp_receive_reset"),
        since: "5.10",
        required: false,
        without: "resets that peers send",
    },
    Probe {
        name: "buf_limit_exceeded",
        hook: Hook::Tracepoint("sock_exceed_buf_limit"),
        since: "5.10",
        required: false,
        without: "socket memory refused by tcp_mem or a memory cgroup",
    },
    Probe {
        name: "rcvqueue_full",
        hook: Hook::Tracepoint("sock_rcvqueue_full"),
        since: "5.10",
        required: false,
        without: "full receive queues of raw and ping sockets (never TCP)",
    },
    Probe {
        name: "state_changed",
        hook: Hook::Tracepoint("inet_sock_set_state"),
        since: "5.10",
        required: true,
        without: "timeouts, failed connects, and who connected or listens",
    },
    Probe {
        name: "sock_destroyed",
        hook: Hook::Tracepoint("tcp_destroy_sock"),
        since: "5.10",
        required: true,
        without: "the end of a connection: addresses of sockets are reused at once",
    },
    Probe {
        name: "sock_held",
        hook: Hook::Iterator("task_file"),
        since: "5.11",
        required: false,
        without: "who accepted a connection, who holds it open, and what was open before the start",
    },
    Probe {
        name: "packet_dropped",
        hook: Hook::Tracepoint("kfree_skb"),
        since: "5.17",
        required: false,
        without: "received packets dropped for want of socket memory or of room in a queue",
    },
    Probe {
        name: "process_forked",
        hook: Hook::Tracepoint("sched_process_fork"),
        since: "5.10",
        required: false,
        without: "how many children a server forked",
    },
    Probe {
        name: "process_exited",
        hook: Hook::Tracepoint("sched_process_exit"),
        since: "5.10",
        required: false,
        without: "how many of a server's children ended",
    },
];

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
    }
    Ok(())
}
