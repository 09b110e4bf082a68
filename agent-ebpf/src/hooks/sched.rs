//! Who forks: `kernel/fork.c` and `kernel/exit.c`.
//!
//! No record: a fork storm would fill the ring. Forks are counted by parent, and whoever wants to know of
//! a process family reads the map.

use agent_common::count::{Forks, OTHER_PARENTS};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::kernel::field;
use crate::maps::FORKS;

/// End of `kernel_clone`, in the parent, before the child runs. Threads come here too: they share their
/// process's id. `real_parent` is the parent also with CLONE_PARENT.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn process_forked(ctx: BtfTracePointContext) -> i32 {
    let (parent, child): (*const u8, *const u8) = (ctx.arg(0), ctx.arg(1));
    if field!(child, task_tgid, u32) != field!(parent, task_tgid, u32) {
        count_fork(parent_of(child));
    }
    0
}

#[inline(always)]
fn count_fork(parent: u32) {
    // SAFETY: no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    if let Some(forks) = FORKS.get_ptr_mut(parent) {
        another(forks, now);
    } else if FORKS.insert(parent, Forks { forked: 1, exited: 0, last: now }, 0).is_err()
        && let Some(forks) = FORKS.get_ptr_mut(OTHER_PARENTS)
    {
        // The daemon made this entry before any program ran.
        another(forks, now);
    }
}

#[inline(always)]
fn another(forks: *mut Forks, now: u64) {
    // SAFETY: a per-CPU map value: aligned and ours until the program ends.
    let forks = unsafe { &mut *forks };
    forks.forked += 1;
    forks.last = now;
}

/// `do_exit`, before `exit_files`: the sockets of the process are closed after this. Once a process: of its
/// threads only the leader is looked at. (Where another thread calls exec, the old leader ends too, and the
/// process starts to count anew.)
#[btf_tracepoint(function = "sched_process_exit")]
pub fn process_exited(ctx: BtfTracePointContext) -> i32 {
    let task: *const u8 = ctx.arg(0);
    let pid = field!(task, task_tgid, u32);
    if field!(task, task_pid, u32) != pid {
        return 0;
    }
    if let Some(forks) = FORKS.get_ptr_mut(parent_of(task)) {
        // SAFETY: as in `another`.
        unsafe { (*forks).exited += 1 };
    }
    // Most processes never forked.
    let _ = FORKS.remove(pid);
    0
}

/// Process id of the parent of a task.
#[inline(always)]
fn parent_of(task: *const u8) -> u32 {
    field!(field!(task, task_real_parent, *const u8), task_tgid, u32)
}
