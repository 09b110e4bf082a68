//! What the program may do, used up once: one thread opens and attaches with all the rights that the program
//! came with, and ends; no other thread ever has them.

use std::sync::mpsc;
use std::thread;

use anyhow::Context as _;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

/// A thread that waits with all rights.
#[derive(Debug)]
pub(super) struct Rights(mpsc::Sender<Work>);

impl Rights {
    /// Leaves them to that thread alone. Before any other thread runs: each begins with what its maker has.
    pub(super) fn set_apart() -> anyhow::Result<Self> {
        set_no_new_privs(true).context("set no_new_privs")?;
        let (sender, works) = mpsc::channel::<Work>();
        let work = move || works.recv().into_iter().for_each(|work| work());
        thread::Builder::new().name("open".to_owned()).spawn(work).context("start a thread")?;
        give_up().context("give up capabilities")?;
        Ok(Self(sender))
    }

    /// Opens what takes rights, and has none afterwards. What `open` starts must not be a thread.
    pub(super) async fn spend<T: Send + 'static>(
        self,
        open: impl Future<Output = T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let (answer, answered) = oneshot::channel();
        let runtime = Handle::current();
        // Who does not wait any more needs no answer.
        let work = move || drop(answer.send(runtime.block_on(open)));
        // That thread waits for nothing else; if it is gone, so is `answer`.
        let _ = self.0.send(Box::new(work));
        answered.await.context("wait for the thread that opens")
    }
}

/// All capabilities of this thread, except the one that some kernels require for every read of a map.
fn give_up() -> rustix::io::Result<()> {
    let bpf = capabilities(None)?.permitted & CapabilitySet::BPF;
    set(CapabilitySet::empty(), bpf)?;
    let kept = if maps_ask_for_rights() { bpf } else { CapabilitySet::empty() };
    set(kept, kept)
}

fn set(effective: CapabilitySet, permitted: CapabilitySet) -> rustix::io::Result<()> {
    set_capabilities(None, CapabilitySets { effective, permitted, inheritable: CapabilitySet::empty() })
}

/// Before 5.19 `bpf()` asks for CAP_BPF whatever it is for, unless `kernel.unprivileged_bpf_disabled` is 0;
/// later it checks the map's descriptor first (`__sys_bpf`, kernel/bpf/syscall.c).
fn maps_ask_for_rights() -> bool {
    const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
    // `map_fd`, `key`, `value` and `flags` of `union bpf_attr`: a descriptor that is none.
    let attributes: [u64; 4] = [u64::from(u32::MAX), 0, 0, 0];
    // SAFETY: the kernel reads the attributes, and gives up at the descriptor.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_ELEM, attributes.as_ptr(), size_of_val(&attributes))
    };
    result == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a thread of its own: capabilities are a thread's.
    #[test]
    fn only_the_thread_that_opens_has_rights() {
        let before = capabilities(None).unwrap().permitted;
        let [here, there] = thread::spawn(|| {
            let rights = Rights::set_apart().unwrap();
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
            let permitted = || capabilities(None).unwrap().permitted;
            [permitted(), runtime.block_on(rights.spend(async move { permitted() })).unwrap()]
        })
        .join()
        .unwrap();
        assert_eq!(there, before);
        assert!(CapabilitySet::BPF.contains(here), "{here:?}");
    }
}
