//! What else is known of the processes that a walk over open files found: forks and limits.

use std::collections::BTreeSet;
use std::fs;

use agent_common::count::{Forks, SLOTS};
use agent_model::event::{Fact, ForkCount, ProcessRow, Usage};
use aya::maps::{Array, MapData, MapError, PerCpuHashMap};

use crate::host::pids::Pids;

/// Rows of one fact, a fraction of a recording's block.
const ROWS: usize = 256;

/// The maps of who forks.
pub(super) struct Parents {
    pub(super) forks: PerCpuHashMap<MapData, u32, Forks>,
    pub(super) watched: Array<MapData, u8>,
}

/// Reads the maps of who forks, and /proc.
pub struct Processes {
    parents: Option<Parents>,
}

impl Processes {
    /// Of the maps, if the programs that fill them run.
    pub(super) fn new(parents: Option<Parents>) -> Self {
        Self { parents }
    }

    /// What is known of `pids`, which a walk found, processes of which nothing is known left out.
    pub(super) fn facts(&mut self, pids: &BTreeSet<u32>, time: u64) -> Vec<Fact> {
        let uncounted = pids.iter().map(|&pid| u64::from(!self.is_counted(pid))).sum();
        let mut limits = Pids::default();
        let rows: Vec<_> = pids.iter().filter_map(|&pid| self.row(pid, &mut limits)).collect();
        if let Some(parents) = &mut self.parents {
            parents.clear_slots();
        }
        rows.chunks(ROWS).map(|rows| Fact::Processes { time, rows: rows.to_vec(), uncounted }).collect()
    }

    /// Whether the forks of a process are counted, if it is still there; false if there was no room for it.
    fn is_counted(&mut self, pid: u32) -> bool {
        let Some(Parents { forks, .. }) = &mut self.parents else { return true };
        let is_known = !matches!(forks.get(&pid, 0), Err(MapError::KeyNotFound));
        if is_there(pid) {
            return is_known;
        }
        if is_known {
            // Who ended before the walk found his socket would stay for ever: `process_exited` came too soon.
            let _ = forks.remove(&pid);
        }
        true
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
        let values = self.parents.as_ref()?.forks.get(&pid, 0);
        let values = values.as_ref().map_or(&[][..], |values| values);
        Some(values.iter().fold(ForkCount::default(), |sum, one| ForkCount {
            forked: sum.forked + one.forked,
            exited: sum.exited + one.exited,
        }))
    }
}

impl Parents {
    /// Clears the slots of parents that ended. The kernel side cannot know whether a living one shares them, and
    /// would look into `FORKS` in vain for ever.
    fn clear_slots(&mut self) {
        let needed = self.slots();
        for slot in (0..SLOTS).filter(|slot| !needed.contains(slot)) {
            if self.watched.get(&slot, 0).is_ok_and(|watched| watched != 0) {
                let _ = self.watched.set(slot, 0, 0);
            }
        }
        // Of those entered meanwhile, whose slot was set before it was cleared.
        for slot in self.slots().difference(&needed) {
            let _ = self.watched.set(*slot, 1, 0);
        }
    }

    fn slots(&self) -> BTreeSet<u32> {
        self.forks.keys().flatten().map(|pid| pid % SLOTS).collect()
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
