//! Who forks: `kernel/fork.c` and `kernel/exit.c`.
//!
//! No record: a fork storm would fill the ring. Forks are counted by parent, of those that listen, or of whose
//! children a walk over open files found sockets; whoever wants to know of a process family reads the map. Every
//! fork and every end of the host comes here, and of most of them nobody wants to know: that is seen at once.

use agent_common::count::{Forks, SLOTS};
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::kernel::field;
use crate::maps::{FORKS, WATCHED};

/// Has the forks of a process counted, if there is room; the daemon finds out if there is none.
#[inline(always)]
pub fn watch(pid: u32) {
    if FORKS.get_ptr(pid).is_none()
        && FORKS.insert(pid, Forks { forked: 0, exited: 0 }, u64::from(BPF_NOEXIST)).is_ok()
        // After it is there: the daemon clears slots, and then looks whose they were.
        && let Some(slot) = WATCHED.get_ptr_mut(pid % SLOTS)
    {
        // SAFETY: a map value: aligned; nothing but 0 and 1 is ever written.
        unsafe { slot.write_volatile(1) };
    }
}

/// End of `kernel_clone`, in the parent, before the child runs. Threads come here too: they share their
/// process's id. `real_parent` is the parent also with CLONE_PARENT.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn process_forked(ctx: BtfTracePointContext) -> i32 {
    let (parent, child): (*const u8, *const u8) = (ctx.arg(0), ctx.arg(1));
    if field!(child, task_tgid, u32) != field!(parent, task_tgid, u32)
        && let Some(forks) = forks_of(parent_of(child))
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
    if let Some(forks) = forks_of(parent_of(task)) {
        // SAFETY: as above.
        unsafe { (*forks).exited += 1 };
    }
    if may_be_watched(pid) {
        // Nothing is there if it shares a slot.
        let _ = FORKS.remove(pid);
    }
    0
}

/// What is counted of a parent, if it is of interest.
#[inline(always)]
fn forks_of(parent: u32) -> Option<*mut Forks> {
    if may_be_watched(parent) { FORKS.get_ptr_mut(parent) } else { None }
}

/// Whether `FORKS` is worth a look. Where tasks begin and end the caches are of other things, and a look into a hash
/// costs over 100 ns, one into this array half of it.
#[inline(always)]
fn may_be_watched(pid: u32) -> bool {
    // SAFETY: as above.
    WATCHED.get_ptr(pid % SLOTS).is_some_and(|slot| unsafe { slot.read_volatile() } != 0)
}

/// Process id of the parent of a task.
#[inline(always)]
fn parent_of(task: *const u8) -> u32 {
    field!(field!(task, task_real_parent, *const u8), task_tgid, u32)
}
