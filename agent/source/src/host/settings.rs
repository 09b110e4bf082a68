//! Settings of the kernel as this process's network namespace has them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use agent_model::event::Settings;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, socket};

/// What advice is about, or computed from, by names as `sysctl` has them. One that the kernel lacks is left out.
const NAMES: &[&str] = &[
    "net.core.netdev_max_backlog",
    "net.core.rmem_max",
    "net.core.somaxconn",
    "net.core.wmem_max",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_max_orphans",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_orphan_retries",
    "net.ipv4.tcp_retries2",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_rto_max_ms",
    "net.ipv4.tcp_syn_linear_timeouts",
    "net.ipv4.tcp_syn_retries",
    "net.ipv4.tcp_synack_retries",
    "net.ipv4.tcp_wmem",
    "net.netfilter.nf_conntrack_count",
    "net.netfilter.nf_conntrack_max",
];

/// Devices that are named at most.
const DEVICES: usize = 1024;

/// As they are now.
pub fn settings() -> Settings {
    let values = NAMES.iter().filter_map(|&name| Some((name.into(), read(name)?)));
    Settings { netns: netns(), values: values.collect::<BTreeMap<_, _>>(), devices: devices() }
}

/// The devices of this process's network namespace; none where they cannot be asked for.
fn devices() -> BTreeMap<Box<str>, u32> {
    let Ok(socket) = socket(AddressFamily::INET, SocketType::DGRAM, None) else { return BTreeMap::new() };
    let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    // Two lines of heads.
    let names = text.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim()));
    let indexed = |name: &str| Some((name.into(), name_to_index(&socket, name).ok()?));
    names.take(DEVICES).filter_map(indexed).collect()
}

/// Inode of this process's network namespace.
pub(super) fn netns() -> u32 {
    fs::metadata("/proc/self/ns/net").map_or(0, |file| file.ino() as u32)
}

fn read(name: &str) -> Option<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
    text.split_ascii_whitespace().map(|value| value.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_has_settings() {
        let Settings { netns, values, devices } = settings();
        assert_eq!(devices.get("lo"), Some(&1), "{devices:?}");
        assert!(netns > 0);
        assert!(values["net.ipv4.tcp_retries2"][0] > 0);
        assert_eq!(values["net.ipv4.tcp_mem"].len(), 3);
    }
}
