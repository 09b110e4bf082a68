//! Programs that do nothing, on the agent's hooks.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result};
use aya::programs::BtfTracePoint;
use aya::{Btf, Ebpf};

use crate::Subject;
use crate::agent::{Cost, cost};

/// Hooks by the word of their signal; the kernel keeps 15 letters of a program's name.
pub const HOOKS: [(&str, &str); 8] = [
    ("retransmit", "tcp_retransmit_skb"),
    ("reset_sent", "tcp_send_reset"),
    ("reset_received", "tcp_receive_reset"),
    ("state_changed", "inet_sock_set_state"),
    ("sock_destroyed", "tcp_destroy_sock"),
    ("process_forked", "sched_process_fork"),
    ("process_exited", "sched_process_exit"),
    ("packet_dropped", "kfree_skb"),
];

/// They are attached for as long as this lives.
pub struct Noop(Ebpf);

impl Noop {
    /// Loads and attaches them.
    pub fn attach(subject: &Subject) -> Result<Self> {
        let mut ebpf = Ebpf::load_file(&subject.noop).context("load the programs that do nothing")?;
        let btf = Btf::from_sys_fs().context("read the kernel's BTF")?;
        for (name, hook) in HOOKS {
            let program: &mut BtfTracePoint = ebpf.program_mut(name).context(name)?.try_into()?;
            program.load(hook, &btf).with_context(|| format!("load on {hook}"))?;
            program.attach().with_context(|| format!("attach to {hook}"))?;
        }
        Ok(Self(ebpf))
    }

    /// What each has cost so far.
    pub fn costs(&self) -> Result<BTreeMap<String, Cost>> {
        HOOKS.into_iter().map(|(name, _)| Ok((name.to_owned(), self.cost(name)?))).collect()
    }

    fn cost(&self, name: &str) -> Result<Cost> {
        let program: &BtfTracePoint = self.0.program(name).context("no such program")?.try_into()?;
        let fd = program.fd()?.as_fd().as_raw_fd();
        cost(&std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?)
    }
}
