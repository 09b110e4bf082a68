//! Programs that do nothing, on the agent's hooks.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, AsRawFd as _};

use agent_common::signal::{Hook, Probe};
use anyhow::{Context as _, Result, bail};
use aya::programs::{BtfTracePoint, Program};
use aya::{Btf, Ebpf};

use crate::Subject;
use crate::agent::{Cost, cost};

/// They are attached for as long as this lives.
pub struct Noop(Ebpf);

impl Noop {
    /// Loads and attaches them.
    pub fn attach(subject: &Subject) -> Result<Self> {
        let mut ebpf = Ebpf::load_file(&subject.noop).context("load the programs that do nothing")?;
        let btf = Btf::from_sys_fs().context("read the kernel's BTF")?;
        for (name, program) in ebpf.programs_mut() {
            let probe = Probe::named(name).with_context(|| format!("{name} is in no row of the table"))?;
            let Hook::Tracepoint(hook) = probe.hook else { bail!("{name} sits on no tracepoint") };
            let program: &mut BtfTracePoint = program.try_into()?;
            program.load(hook, &btf).with_context(|| format!("load on {hook}"))?;
            program.attach().with_context(|| format!("attach to {hook}"))?;
        }
        Ok(Self(ebpf))
    }

    /// What each has cost so far, by the word of its signal.
    pub fn costs(&self) -> Result<BTreeMap<String, Cost>> {
        self.0.programs().map(|(name, program)| Ok((name.to_owned(), of(program)?))).collect()
    }
}

fn of(program: &Program) -> Result<Cost> {
    let program: &BtfTracePoint = program.try_into()?;
    let fd = program.fd()?.as_fd().as_raw_fd();
    cost(&std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?)
}
