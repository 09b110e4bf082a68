//! Who holds a socket: a walk over the open files of every process.

use agent_common::record::{HAS_TCP, OWNED, SockHeld, Task, TcpRecord};
use agent_common::signal;
use aya_ebpf::helpers::{bpf_seq_write, bpf_sock_from_file};

use super::{TCP_LISTEN, sched};
use crate::kernel::field;
use crate::maps::SCRATCH;
use crate::snapshot::Full;
use crate::storm::Permit;
use crate::{hooks, snapshot, socket, task};

/// `struct bpf_iter__task_file` (kernel/bpf/task_iter.c, 5.8+).
#[repr(C)]
pub struct TaskFile {
    meta: *const *mut aya_ebpf::bindings::seq_file,
    task: *const u8,
    fd: u32,
    file: *const u8,
}

/// One call an open file; both pointers are null at the end of the walk.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub extern "C" fn sock_held(ctx: *const TaskFile) -> i32 {
    // SAFETY: the verifier knows the context and each of its members; it refuses a read of the padding.
    let (task, fd, file) = unsafe { ((*ctx).task, (*ctx).fd, (*ctx).file) };
    if task.is_null() || file.is_null() {
        return 0;
    }
    // SAFETY: the helper takes a BTF pointer to a file and gives null for what is no socket.
    let socket = unsafe { bpf_sock_from_file(file as *mut _) } as *const u8;
    if socket.is_null() {
        return 0;
    }
    let sk = field!(socket, socket_sk, *const u8);
    let Some(record) = SCRATCH.get_ptr_mut(0) else { return 0 };
    if !sk.is_null() && held(record, sk, task, file, fd) {
        // SAFETY: `meta->seq` is the iterator's own; `record` is a whole `TcpRecord`.
        unsafe { bpf_seq_write(*(*ctx).meta, record.cast(), size_of::<TcpRecord>() as u32) };
    }
    0
}

/// Fills `record` if `sk` is a TCP socket. The walk holds no lock: numbers may be of different instants.
#[inline(always)]
fn held(record: *mut TcpRecord, sk: *const u8, task: *const u8, file: *const u8, fd: u32) -> bool {
    let tp = snapshot::any_tcp_sock(sk);
    if tp.is_null() {
        return false;
    }
    let holder = holder(task);
    // The connection's first event then names its process, though the daemon takes in no healthy socket.
    socket::found(tp, holder);
    let header = Permit::free(signal::SOCK_HELD).header(HAS_TCP);
    hooks::fill_tcp(record, Full { sk, tp }, header, socket::find(tp));
    let inode = field!(file, file_inode, *const u8);
    let parent = field!(field!(task, task_real_parent, *const u8), task_tgid, u32);
    sched::watch(parent);
    if field!(sk, skc_state, u8) == TCP_LISTEN {
        sched::watch(holder.pid);
    }
    let detail = SockHeld {
        inode: field!(inode, inode_ino, u64),
        fd,
        parent,
        accept_queue: field!(tp, sk_ack_backlog, u32),
        backlog: field!(tp, sk_max_ack_backlog, u32),
        memory_cgroup: snapshot::memory_cgroup(tp),
    };
    // SAFETY: `record` is this CPU's scratch value.
    unsafe {
        (*record).record.header.flags &= !OWNED;
        (*record).record.current = holder;
        (*record).record.detail.sock_held = detail;
    }
    true
}

#[inline(always)]
fn holder(task: *const u8) -> Task {
    Task { pid: field!(task, task_tgid, u32), how: agent_common::owner::FILE, comm: task::comm(task) }
}
