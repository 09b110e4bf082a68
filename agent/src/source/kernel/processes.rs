//! What else is known of the processes that a walk over open files found: forks and limits.

use std::collections::BTreeSet;
use std::fs;

use agent_common::count::Forks;
use aya::maps::{MapData, MapError, PerCpuHashMap, PerCpuValues};

use crate::event::{Fact, ForkCount, ProcessRow, Usage};
use crate::source::host::pids::Pids;

/// `bpf_map_update_elem`: only if there is none.
const BPF_NOEXIST: u64 = 1;

/// Rows of one fact, a fraction of a recording's block.
const ROWS: usize = 256;

/// Reads the map `FORKS` and /proc.
pub struct Processes {
    forks: Option<PerCpuHashMap<MapData, u32, Forks>>,
    /// Parents that were entered here, and not by the kernel side when they called `listen()`.
    entered: BTreeSet<u32>,
}

impl Processes {
    /// Of the map, if the programs that fill it run.
    pub(super) fn new(forks: Option<PerCpuHashMap<MapData, u32, Forks>>) -> Self {
        Self { forks, entered: BTreeSet::new() }
    }

    /// What is known of `pids`, processes of which nothing is known left out. Their forks are counted from now on.
    pub(super) fn tell(&mut self, pids: &BTreeSet<u32>, time: u64) -> Vec<Fact> {
        self.forget_gone(pids);
        let uncounted = pids.iter().map(|&pid| u64::from(!self.enter(pid))).sum();
        let mut limits = Pids::default();
        let rows: Vec<_> = pids.iter().filter_map(|&pid| self.row(pid, &mut limits)).collect();
        rows.chunks(ROWS).map(|rows| Fact::Processes { time, rows: rows.to_vec(), uncounted }).collect()
    }

    /// Has the forks of a process counted; false if there is no room for it.
    fn enter(&mut self, pid: u32) -> bool {
        let Some(forks) = &mut self.forks else { return true };
        if !matches!(forks.get(&pid, 0), Err(MapError::KeyNotFound)) || !is_there(pid) {
            return true;
        }
        let none = vec![Forks::default(); aya::util::nr_cpus().unwrap_or(1)];
        // Not over what the kernel side has entered meanwhile.
        let room = PerCpuValues::try_from(none)
            .is_ok_and(|none| forks.insert(pid, none, BPF_NOEXIST).is_ok() || forks.get(&pid, 0).is_ok());
        self.entered.extend(room.then_some(pid));
        room
    }

    /// Who ended between a walk and [`Self::enter`] would stay for ever.
    fn forget_gone(&mut self, pids: &BTreeSet<u32>) {
        let Some(forks) = &mut self.forks else { return };
        self.entered.retain(|pid| {
            let stays = pids.contains(pid) || is_there(*pid);
            if !stays {
                // The kernel side does it too.
                let _ = forks.remove(pid);
            }
            stays
        });
    }

    fn row(&self, pid: u32, tasks: &mut Pids) -> Option<ProcessRow> {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
        let row = ProcessRow {
            pid,
            forks: self.forks(pid),
            nofile: soft_limit(&limits, "Max open files"),
            nproc: soft_limit(&limits, "Max processes").filter(|_| is_bound(pid)),
            pids: tasks.of(pid),
        };
        (row.forks.is_some() || !limits.is_empty()).then_some(row)
    }

    /// All CPUs together; nothing forked is 0, not unknown, as long as the programs run.
    fn forks(&self, pid: u32) -> Option<ForkCount> {
        let values = self.forks.as_ref()?.get(&pid, 0);
        let values = values.as_ref().map_or(&[][..], |values| values);
        Some(values.iter().fold(ForkCount::default(), |sum, one| ForkCount {
            forked: sum.forked + one.forked,
            exited: sum.exited + one.exited,
        }))
    }
}

/// Tasks and files of the whole host.
pub(super) fn usage(time: u64, walk: u64) -> Usage {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    // `0.42 0.36 0.30 2/345 6789`: runnable, all, and the newest process.
    let tasks = nth(&read("/proc/loadavg").replace('/', " "), 4);
    let files = read("/proc/sys/fs/file-nr");
    Usage {
        time,
        walk,
        tasks,
        pid_max: nth(&read("/proc/sys/kernel/pid_max"), 0),
        threads_max: nth(&read("/proc/sys/kernel/threads-max"), 0),
        files: nth(&files, 0),
        file_max: nth(&files, 2),
    }
}

fn nth(text: &str, index: usize) -> u64 {
    text.split_whitespace().nth(index).and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn is_there(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap_or(true)
}

/// Whether RLIMIT_NPROC binds it: not root, and not who may pass it (`copy_process`).
fn is_bound(pid: u32) -> bool {
    const CAP_SYS_ADMIN: u32 = 21;
    const CAP_SYS_RESOURCE: u32 = 24;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let row = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    let may = row("CapEff:").and_then(|bits| u64::from_str_radix(bits, 16).ok()).unwrap_or(0);
    row("Uid:").is_some_and(|uid| uid != "0") && may & (1 << CAP_SYS_ADMIN | 1 << CAP_SYS_RESOURCE) == 0
}

/// A line of /proc/PID/limits: its name, the soft limit, the hard limit, the unit. `unlimited` is none.
fn soft_limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_has_limits() {
        let Usage { tasks, pid_max, threads_max, files, file_max, .. } = usage(1, 1);
        assert!(tasks > 1 && pid_max > 300 && threads_max > 100, "{tasks} {pid_max} {threads_max}");
        assert!(files > 0 && file_max > files, "{files} of {file_max}");
    }

    #[test]
    fn root_is_not_bound() {
        assert!(!is_bound(1));
        assert!(!is_bound(0), "there is none");
    }

    #[test]
    fn reads_soft_limits() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max processes             127842               unlimited            processes \n\
                    Max open files            1024                 524288               files     \n\
                    Max locked memory         unlimited            unlimited            bytes     \n";
        assert_eq!(soft_limit(text, "Max open files"), Some(1024));
        assert_eq!(soft_limit(text, "Max processes"), Some(127_842));
        assert_eq!(soft_limit(text, "Max locked memory"), None);
    }
}
