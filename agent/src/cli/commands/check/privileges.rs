//! What this process may do.

use std::os::unix::fs::MetadataExt as _;

use schemars::JsonSchema;
use serde::Serialize;
use serde_with::skip_serializing_none;

use super::surroundings::read;

/// Bits of `include/uapi/linux/capability.h`. `CAP_SYS_ADMIN` includes the two that are required.
const SYS_ADMIN: u32 = 21;
const SYSLOG: u32 = 34;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// Inode of the initial user namespace (`PROC_USER_INIT_INO`, include/linux/proc_ns.h), since 3.8.
const INITIAL_USER: u64 = 0xEFFF_FFFD;

/// Rights, and what takes them away.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Privileges {
    /// `CAP_BPF`, or `CAP_SYS_ADMIN`, is in force: maps can be made.
    pub cap_bpf: bool,
    /// `CAP_PERFMON`, or `CAP_SYS_ADMIN`, is in force: tracing programs can be loaded.
    pub cap_perfmon: bool,
    /// `CAP_SYSLOG` is in force: the addresses of kernel functions can be read.
    pub cap_syslog: bool,
    /// Capabilities count for bpf() only in the initial user namespace.
    pub initial_user_namespace: bool,
    /// A seccomp filter decides about system calls.
    pub seccomp: bool,
    /// /proc/kallsyms shows addresses.
    pub symbols: bool,
    /// `kernel.kptr_restrict`: 2 hides addresses from everybody.
    pub kptr_restrict: Option<u32>,
}

impl Privileges {
    /// Those of this process.
    pub fn here() -> Self {
        let status = read("/proc/self/status").unwrap_or_default();
        let symbols = read_symbol();
        let kptr_restrict = read("/proc/sys/kernel/kptr_restrict");
        Self {
            initial_user_namespace: is_initial("user", INITIAL_USER),
            symbols: symbols.is_some_and(|address| address != 0),
            kptr_restrict: kptr_restrict.and_then(|text| text.trim().parse().ok()),
            ..Self::of(&status)
        }
    }

    /// From /proc/PID/status.
    fn of(status: &str) -> Self {
        let field = |name: &str| {
            let mut lines = status.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(key, _)| *key == name).map(|(_, value)| value.trim())
        };
        let effective = field("CapEff").and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0);
        let has = |bit: u32| effective >> bit & 1 == 1;
        Self {
            cap_bpf: has(BPF) || has(SYS_ADMIN),
            cap_perfmon: has(PERFMON) || has(SYS_ADMIN),
            cap_syslog: has(SYSLOG),
            // SECCOMP_MODE_FILTER
            seccomp: field("Seccomp") == Some("2"),
            ..Self::default()
        }
    }

    /// The required ones that are not in force.
    pub fn missing(&self) -> Vec<&'static str> {
        let required = [(self.cap_bpf, "CAP_BPF"), (self.cap_perfmon, "CAP_PERFMON")];
        required.into_iter().filter(|(is_there, _)| !is_there).map(|(_, name)| name).collect()
    }
}

/// Whether this process's namespace is the one that the kernel started with.
pub(super) fn is_initial(kind: &str, inode: u64) -> bool {
    std::fs::metadata(format!("/proc/self/ns/{kind}")).is_ok_and(|namespace| namespace.ino() == inode)
}

/// The first address of /proc/kallsyms; 0 where addresses are hidden.
fn read_symbol() -> Option<u64> {
    use std::io::BufRead as _;
    let mut line = String::new();
    std::io::BufReader::new(std::fs::File::open("/proc/kallsyms").ok()?).read_line(&mut line).ok()?;
    u64::from_str_radix(line.split_whitespace().next()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read() {
        let two = Privileges::of("CapPrm:\t0000000000000000\nCapEff:\t000000c000000000\nSeccomp:\t2\n");
        let expected =
            Privileges { cap_bpf: true, cap_perfmon: true, seccomp: true, ..Privileges::default() };
        assert_eq!(two, expected);
        let root = Privileges::of("CapEff:\t0000000000200000\nSeccomp:\t0\n");
        assert!(root.missing().is_empty() && !root.cap_syslog);
        assert_eq!(Privileges::of("").missing(), ["CAP_BPF", "CAP_PERFMON"]);
    }
}
