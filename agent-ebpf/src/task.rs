//! The running task.

use agent_common::COMM_LEN;
use agent_common::record::Task;
use aya_ebpf::helpers::{
    bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_task_btf,
    bpf_probe_read_kernel,
};

use crate::kernel::{fact, field, load};

/// The running process; `how` is left to the caller.
#[inline(always)]
pub fn current(how: u32) -> Task {
    // Older than socket cookies in tracing programs: 5.11 against 5.12.
    if fact!(socket_cookie) != 0 {
        // SAFETY: no preconditions.
        let task = unsafe { bpf_get_current_task_btf() } as *const u8;
        let comm = comm(field!(task, task_group_leader, *const u8));
        return Task { pid: field!(task, task_tgid, u32), how, comm };
    }
    let id = bpf_get_current_pid_tgid();
    let (pid, tid) = ((id >> 32) as u32, id as u32);
    let comm = if pid == tid { bpf_get_current_comm().unwrap_or_default() } else { leader_comm() };
    Task { pid, how, comm }
}

/// The name of a task behind a BTF pointer: two loads, where the helper copies byte by byte.
#[inline(always)]
pub fn comm(task: *const u8) -> [u8; COMM_LEN] {
    let at = fact!(layout.task_comm);
    let words: [u64; 2] = [load(task, at), load(task, at + 8)];
    // SAFETY: same size, no invalid values.
    unsafe { core::mem::transmute(words) }
}

/// Thread id of the running task.
#[inline(always)]
pub fn thread_id() -> u32 {
    bpf_get_current_pid_tgid() as u32
}

/// Name of the process, not of the thread: `tokio-worker` says nothing to who reads it.
#[inline(always)]
fn leader_comm() -> [u8; COMM_LEN] {
    // SAFETY: no preconditions.
    let task = unsafe { bpf_get_current_task() } as *const u8;
    let leader = task.wrapping_add(fact!(layout.task_group_leader) as usize).cast::<*const u8>();
    // SAFETY: probe reads check the address.
    unsafe { bpf_probe_read_kernel(leader) }
        .and_then(|leader| {
            let comm = leader.wrapping_add(fact!(layout.task_comm) as usize).cast();
            // SAFETY: as above.
            unsafe { bpf_probe_read_kernel(comm) }
        })
        .unwrap_or_default()
}
