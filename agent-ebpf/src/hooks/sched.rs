//! Who forks: `kernel/fork.c` and `kernel/exit.c`.
//!
//! No record: a fork storm would fill the ring. Forks are counted by parent, of those that listen, or of whose
//! children a walk over open files found sockets; whoever wants to know of a process family reads the map. Every
//! fork and every end of the host comes here, and of most of them nobody wants to know.

use agent_common::count::Forks;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::kernel::field;
use crate::maps::FORKS;

/// The running process listens: it is a parent of interest. If there is no room, the daemon will find out.
#[inline(always)]
pub fn watch_current() {
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let _ = FORKS.insert(pid, Forks { forked: 0, exited: 0 }, u64::from(BPF_NOEXIST));
}

/// End of `kernel_clone`, in the parent, before the child runs. Threads come here too: they share their
/// process's id. `real_parent` is the parent also with CLONE_PARENT.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn process_forked(ctx: BtfTracePointContext) -> i32 {
    let (parent, child): (*const u8, *const u8) = (ctx.arg(0), ctx.arg(1));
    if field!(child, task_tgid, u32) != field!(parent, task_tgid, u32)
        && let Some(forks) = FORKS.get_ptr_mut(parent_of(child))
    {
        // SAFETY: a per-CPU map value: aligned and ours until the program ends.
        unsafe { (*forks).forked += 1 };
    }
    0
}

/// `do_exit`, before `exit_files`: the sockets of the process are closed after this. Once a process: of its
/// threads only the leader is looked at. (Where another thread calls exec, the old leader ends too, and the
/// process is to be found anew.)
#[btf_tracepoint(function = "sched_process_exit")]
pub fn process_exited(ctx: BtfTracePointContext) -> i32 {
    let task: *const u8 = ctx.arg(0);
    let pid = field!(task, task_tgid, u32);
    if field!(task, task_pid, u32) != pid {
        return 0;
    }
    if let Some(forks) = FORKS.get_ptr_mut(parent_of(task)) {
        // SAFETY: as above.
        unsafe { (*forks).exited += 1 };
    }
    // To remove takes a lock, to look none.
    if FORKS.get_ptr(pid).is_some() {
        let _ = FORKS.remove(pid);
    }
    0
}

/// Process id of the parent of a task.
#[inline(always)]
fn parent_of(task: *const u8) -> u32 {
    field!(field!(task, task_real_parent, *const u8), task_tgid, u32)
}
