//! What a process costs, from /proc.

use std::fs;

use anyhow::{Context as _, Result};

/// A process that lives for as long as it is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Process(pub u32);

impl Process {
    /// Nanoseconds that its threads ran (`proc_pid_schedstat`; `stat` counts in ticks). Threads
    /// that ended are not in it; the agent's live as long as it does.
    pub fn cpu(self) -> Result<u64> {
        let mut sum = 0;
        for task in self.tasks("schedstat")? {
            let time = task.split(' ').next().unwrap_or_default();
            sum += time.parse::<u64>().context("read the time that a thread ran")?;
        }
        Ok(sum)
    }

    /// Times that its threads went to sleep.
    pub fn sleeps(self) -> Result<u64> {
        let tasks = self.tasks("status")?;
        tasks.iter().map(|task| field(task, "voluntary_ctxt_switches")).sum()
    }

    /// Resident memory in KiB, each page once (`Pss`): a ring buffer is mapped twice in a row, so that records
    /// never wrap, and `VmRSS` counts its pages twice.
    pub fn resident(self) -> Result<u64> {
        let path = format!("/proc/{}/smaps_rollup", self.0);
        field(&fs::read_to_string(&path).with_context(|| format!("read {path}"))?, "Pss")
    }

    fn tasks(self, file: &str) -> Result<Vec<String>> {
        let path = format!("/proc/{}/task", self.0);
        let tasks = fs::read_dir(&path).with_context(|| format!("list {path}"))?;
        // A thread may end between the listing and the read.
        Ok(tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join(file)).ok()).collect())
    }
}

/// The number in the line `name: number`.
pub fn field(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("no number {name} in /proc"))
}
