//! What `/proc`, the cgroups and the kernel log say of socket memory. Read when somebody asks, never on a
//! timer: an idle host wakes nobody for this.

mod cgroup;
mod kernel_log;
pub mod pids;
mod proc_net;
pub mod settings;
mod snmp;

use std::path::Path;
use std::{fs, io};

use agent_model::event::{Buffers, CgroupMemory, LogLines, TcpMemory};
use parking_lot::Mutex;

use self::cgroup::Cgroups;
use self::kernel_log::KernelLog;
pub use self::snmp::snmp;
use crate::kernel::facts;

/// Reads TCP's memory.
#[derive(Debug, Default)]
pub struct HostMemory {
    log: Mutex<KernelLog>,
    cgroups: Mutex<Cgroups>,
}

impl HostMemory {
    /// Counts the kernel log's lines from now on.
    pub fn new() -> Self {
        Self { log: Mutex::new(KernelLog::open()), cgroups: Mutex::new(Cgroups::new()) }
    }

    /// Memory of the sockets of the cgroups with these kernel ids, in the hierarchy of the memory controller.
    pub fn cgroups(&self, ids: &[u64]) -> Vec<CgroupMemory> {
        let Ok(time) = facts::monotonic() else { return Vec::new() };
        self.cgroups.lock().memory(ids, time)
    }

    /// TCP's memory now. A setting that can't be read is 0.
    pub fn tcp(&self) -> io::Result<TcpMemory> {
        let sockets = proc_net::sockets(&net("sockstat")?, &net("sockstat6").unwrap_or_default());
        Ok(TcpMemory {
            time: facts::monotonic()?,
            pages: sockets.pages,
            limits: setting("ipv4/tcp_mem"),
            pressure: proc_net::is_under_pressure(&net("protocols").unwrap_or_default()),
            sockets: sockets.allocated,
            orphans: sockets.orphans,
            max_orphans: one("ipv4/tcp_max_orphans"),
            in_use: sockets.in_use,
            time_wait: sockets.time_wait,
            buffers: buffers(),
            counters: proc_net::counters(&net("netstat")?),
            log: self.log.lock().lines(),
        })
    }
}

/// Takes any bytes for each of the texts that are read here (`hostile`).
#[doc(hidden)]
pub fn read_any(bytes: &[u8]) {
    let text = &String::from_utf8_lossy(bytes);
    let _ = (proc_net::sockets(text, text), proc_net::is_under_pressure(text), proc_net::counters(text));
    let _ = (snmp::pairs(text, "Tcp:"), cgroup::row(text, "sock"), cgroup::waited(text));
    kernel_log::count(&mut LogLines::default(), bytes);
}

fn buffers() -> Buffers {
    Buffers {
        tcp_rmem: setting("ipv4/tcp_rmem"),
        tcp_wmem: setting("ipv4/tcp_wmem"),
        rmem_max: one("core/rmem_max"),
        wmem_max: one("core/wmem_max"),
        somaxconn: one("core/somaxconn"),
    }
}

/// Of the agent's network namespace, whichever thread asks.
fn net(file: &str) -> io::Result<String> {
    fs::read_to_string(Path::new("/proc/self/net").join(file))
}

fn one(name: &str) -> u64 {
    let [value] = setting(name);
    value
}

fn setting<const N: usize>(name: &str) -> [u64; N] {
    let text = fs::read_to_string(Path::new("/proc/sys/net").join(name)).unwrap_or_default();
    let mut values = text.split_ascii_whitespace().map(|value| value.parse().unwrap_or(0));
    std::array::from_fn(|_| values.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_has_limits() {
        let memory = HostMemory::new().tcp().unwrap();
        let [low, pressure, high] = memory.limits;
        assert!(0 < low && low <= pressure && pressure <= high, "{memory:?}");
        assert!(memory.max_orphans > 0 && memory.buffers.tcp_rmem[2] > 0, "{memory:?}");
        assert!(memory.counters.contains_key("PruneCalled"), "{memory:?}");
    }
}
