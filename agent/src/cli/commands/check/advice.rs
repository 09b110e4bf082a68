//! What to do about what was found.

use agent_source::kernel::probes::{ProbeState, ProbeStatus};
use agent_source::kernel::{LoadError, Loss};

use super::place::{Cgroups, Surrounding};
use super::privileges::Privileges;
use super::report::{Finding, Level};
use super::surroundings::{KernelFacts, Surroundings};

/// How a pod gets what is missing.
const IN_A_POD: &str = "in a pod: securityContext.runAsUser 0 and capabilities.add [BPF, PERFMON]";

/// The kernel took nothing.
pub fn of_refusal(error: &LoadError, surroundings: &Surroundings) -> Finding {
    let advice = match error {
        LoadError::NotPermitted => permission(surroundings),
        LoadError::NoBtf(_) | LoadError::TooOld(_) => {
            vec!["run a kernel of 5.10 or later, with CONFIG_DEBUG_INFO_BTF=y".to_owned()]
        }
        LoadError::Btf(_)
        | LoadError::AyaBtf(_)
        | LoadError::Field(_)
        | LoadError::Object(_)
        | LoadError::Map(..)
        | LoadError::Required { .. }
        | LoadError::Host(_) => {
            vec!["report this, with the output of `tcpwhy check --log debug`".to_owned()]
        }
    };
    fatal(one_line(error), advice)
}

/// Probes that did not come up, where more is to be said than what is lost.
pub fn of_probes(probes: &[ProbeStatus], surroundings: &Surroundings) -> Vec<Finding> {
    let is_unpermitted = |status: &&ProbeStatus| status.state == ProbeState::NotPermitted;
    if let Some(status) = probes.iter().find(is_unpermitted) {
        let what = format!("the kernel does not let this process load programs ({})", status.probe.name);
        let level = if status.probe.required { Level::Fatal } else { Level::Loss };
        return vec![Finding { level, what, advice: permission(surroundings) }];
    }
    let required = probes.iter().filter(|status| status.probe.required && status.state != ProbeState::Up);
    let finding = |status: &ProbeStatus| {
        let what = format!("required probe {} is not up", status.probe.name);
        fatal(what, vec!["report this, with the output of `tcpwhy check --log debug`".to_owned()])
    };
    required.map(finding).collect()
}

/// Why bpf() may be refused: what is known to be wrong, or else what is left.
fn permission(Surroundings { kernel, privileges, place }: &Surroundings) -> Vec<String> {
    let mut advice = Vec::new();
    let missing = privileges.missing();
    if !missing.is_empty() {
        let pod = if place.pod { format!("; {IN_A_POD}") } else { String::new() };
        advice.push(format!("give it {} (or run it as root){pod}", missing.join(" and ")));
    }
    if !privileges.initial_user_namespace {
        advice.push(
            "run it in the host's user namespace (no rootless container, no hostUsers: false): \
             capabilities in any other do not count for bpf()"
                .to_owned(),
        );
    }
    if kernel.lockdown.as_deref() == Some("confidentiality") {
        advice.push("boot with lockdown=integrity: confidentiality forbids to read the kernel".to_owned());
    }
    if advice.is_empty() && privileges.seccomp {
        advice.push(
            "let the container's seccomp filter pass bpf(): nothing else is seen to refuse it".to_owned(),
        );
    }
    if advice.is_empty() {
        advice
            .push("look for a denial of bpf() in the audit log: a security module may refuse it".to_owned());
    }
    advice
}

/// What no probe of this kernel reports.
pub fn of_kernel(loss: &Loss) -> Finding {
    Finding {
        level: Level::Loss,
        what: format!("not told by this kernel: {}", loss.what),
        advice: Vec::new(),
    }
}

/// What is lost or costs more because of where and how this runs.
pub fn of_surroundings(surroundings: &Surroundings) -> Vec<Finding> {
    let Surroundings { kernel, privileges, place } = surroundings;
    [symbols(privileges), processes(place), workloads(place), interpreter(kernel), run_times(kernel)]
        .into_iter()
        .flatten()
        .collect()
}

/// `kallsyms_show_value` (kernel/ksyms_common.c).
fn symbols(privileges: &Privileges) -> Option<Finding> {
    if privileges.symbols {
        return None;
    }
    let advice = match privileges.kptr_restrict {
        Some(2..) => "sysctl kernel.kptr_restrict=1, and CAP_SYSLOG",
        _ => "give it CAP_SYSLOG (in a pod: capabilities.add [SYSLOG])",
    };
    Some(Finding {
        level: Level::Loss,
        what: "/proc/kallsyms hides addresses: which kernel functions led to a reset is lost".to_owned(),
        advice: vec![advice.to_owned()],
    })
}

/// The walk over open files begins in the pid namespace of who asks (`init_seq_pidns`, kernel/bpf/task_iter.c).
fn processes(place: &Surrounding) -> Option<Finding> {
    let advice = if place.pod { "hostPID: true in the pod" } else { "the host's pid namespace (--pid=host)" };
    (!place.host_pids).then(|| Finding {
        level: Level::Loss,
        what: "a pid namespace of its own: who holds a socket is seen of this container's processes alone"
            .to_owned(),
        advice: vec![format!("give it {advice}")],
    })
}

/// A socket carries its cgroup of version 2.
fn workloads(place: &Surrounding) -> Option<Finding> {
    let what = match place.cgroups {
        Cgroups::V2 => return None,
        Cgroups::Hybrid => {
            "cgroups of version 1 beside version 2: sockets are told apart by workload only where the runtime \
             makes cgroups of version 2 too"
        }
        Cgroups::V1 => "cgroups of version 1: sockets are not told apart by workload",
    };
    Some(Finding {
        level: Level::Loss,
        what: what.to_owned(),
        advice: vec!["boot with systemd.unified_cgroup_hierarchy=1".to_owned()],
    })
}

fn interpreter(kernel: &KernelFacts) -> Option<Finding> {
    (kernel.jit == Some(false)).then(|| Finding {
        level: Level::Note,
        what: "programs are interpreted: every event costs several times as much".to_owned(),
        advice: vec!["sysctl net.core.bpf_jit_enable=1".to_owned()],
    })
}

fn run_times(kernel: &KernelFacts) -> Option<Finding> {
    (kernel.run_times == Some(false)).then(|| Finding {
        level: Level::Note,
        what: "the run time of programs is not measured: their cost is not in the metrics".to_owned(),
        advice: vec!["sysctl kernel.bpf_stats_enabled=1, which costs a little of its own".to_owned()],
    })
}

fn fatal(what: String, advice: Vec<String>) -> Finding {
    Finding { level: Level::Fatal, what, advice }
}

/// The error with its causes.
fn one_line(error: &LoadError) -> String {
    let chain = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
