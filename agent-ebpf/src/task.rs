//! The running task.

use agent_common::COMM_LEN;
use agent_common::record::{EXITING, OOM_VICTIM, Task};
use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_kernel,
    generated,
};

use crate::kernel::{fact, field, load};

/// `include/linux/sched.h`
const PF_EXITING: u32 = 4;

/// Writes the running process in place; `how` is left to the caller. Named by its leader, not by the thread:
/// `tokio-worker` says nothing to who reads it.
///
/// # Safety
/// `to` is space for a `Task`.
#[inline(always)]
pub unsafe fn write_current(to: *mut Task, how: u32) {
    // SAFETY: by the caller's promise; the helper has no preconditions.
    unsafe {
        (*to).how = how;
        // Older than socket cookies in tracing programs: 5.11 against 5.12.
        if fact!(socket_cookie) != 0 {
            let task = bpf_get_current_task_btf() as *const u8;
            (*to).pid = field!(task, task_tgid, u32);
            (*to).comm = comm(field!(task, task_group_leader, *const u8));
        } else {
            ask_current(to);
        }
    }
}

/// The name of a task behind a BTF pointer: two loads, where the helper copies byte by byte.
#[inline(always)]
pub fn comm(task: *const u8) -> [u8; COMM_LEN] {
    let at = fact!(layout.task_comm);
    let words: [u64; 2] = [load(task, at), load(task, at + 8)];
    // SAFETY: same size, no invalid values.
    unsafe { core::mem::transmute(words) }
}

/// The same where no helper gives a BTF pointer to the task.
///
/// # Safety
/// `to` is space for a `Task`.
#[inline(always)]
unsafe fn ask_current(to: *mut Task) {
    let id = bpf_get_current_pid_tgid();
    let (pid, tid) = ((id >> 32) as u32, id as u32);
    // SAFETY: by the caller's promise; both helpers fill the name, with zeroes if they fail.
    unsafe {
        (*to).pid = pid;
        let comm = (&raw mut (*to).comm).cast();
        if pid == tid {
            generated::bpf_get_current_comm(comm, COMM_LEN as u32);
        } else {
            generated::bpf_probe_read_kernel(comm, COMM_LEN as u32, leader_comm().cast());
        }
    }
}

/// How the process of the running task ends, as [`ResetSent::exit`] has it. `do_exit` sets the code before it
/// closes the files.
///
/// [`ResetSent::exit`]: agent_common::record::ResetSent::exit
#[inline(always)]
pub fn exit() -> u32 {
    // SAFETY: the helpers have no preconditions.
    unsafe {
        if fact!(socket_cookie) != 0 {
            let task = bpf_get_current_task_btf() as *const u8;
            let oom_mm = || field!(field!(task, task_signal, *const u8), signal_oom_mm, u64);
            ending(field!(task, task_flags, u32), || field!(task, task_exit_code, u32), oom_mm)
        } else {
            let task = bpf_get_current_task() as *const u8;
            let oom_mm = || probe(probe(task, fact!(layout.task_signal)), fact!(layout.signal_oom_mm));
            ending(
                probe(task, fact!(layout.task_flags)),
                || probe(task, fact!(layout.task_exit_code)),
                oom_mm,
            )
        }
    }
}

#[inline(always)]
fn ending(flags: u32, code: impl FnOnce() -> u32, oom_mm: impl FnOnce() -> u64) -> u32 {
    if flags & PF_EXITING == 0 {
        return 0;
    }
    let oom = if oom_mm() == 0 { 0 } else { OOM_VICTIM };
    EXITING | oom | code() & 0xffff
}

/// A field where no helper gives a BTF pointer to the task; zero if it can't be read.
#[inline(always)]
fn probe<T: Default>(base: *const u8, offset: u16) -> T {
    // SAFETY: probe reads check the address.
    unsafe { bpf_probe_read_kernel(base.wrapping_add(offset as usize).cast()) }.unwrap_or_default()
}

/// Process id of the running task.
#[inline(always)]
pub fn process_id() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// Thread id of the running task.
#[inline(always)]
pub fn thread_id() -> u32 {
    bpf_get_current_pid_tgid() as u32
}

/// Address of the process's name; near null if it can't be found out.
#[inline(always)]
fn leader_comm() -> *const u8 {
    // SAFETY: no preconditions.
    let task = unsafe { bpf_get_current_task() } as *const u8;
    let leader = task.wrapping_add(fact!(layout.task_group_leader) as usize).cast::<*const u8>();
    // SAFETY: probe reads check the address.
    let leader = unsafe { bpf_probe_read_kernel(leader) }.unwrap_or(core::ptr::null());
    leader.wrapping_add(fact!(layout.task_comm) as usize)
}
