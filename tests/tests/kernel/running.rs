//! The kernel that runs.

use std::env;
use std::fs;
use std::process::Command;

pub use tests::machine::is_ours;

/// Major and minor number.
pub fn version() -> (u32, u32) {
    let release = release();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => panic!("{release} has no version"),
    }
}

/// The line of kernels that this one is of, as in docs/kernels.md: set by `cargo xtask vm`, which has one
/// called `latest`, or major and minor number.
pub fn line() -> String {
    let (major, minor) = version();
    env::var("TCPWHY_KERNEL").unwrap_or_else(|_| format!("{major}.{minor}"))
}

/// `uname -r`.
fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").expect("read the release").trim().to_owned()
}

/// Whether this is a kernel from `major.minor` on.
pub fn since(major: u32, minor: u32) -> bool {
    version() >= (major, minor)
}

/// CONFIG_HZ: set by `cargo xtask vm`, in the kernel itself, or in the folder where Debian keeps configurations.
pub fn hz() -> Option<u32> {
    if let Ok(hz) = env::var("TCPWHY_HZ") {
        return hz.parse().ok();
    }
    let config = own_config().or_else(|| fs::read_to_string(format!("/boot/config-{}", release())).ok())?;
    config.lines().find_map(|line| line.strip_prefix("CONFIG_HZ="))?.parse().ok()
}

/// What a kernel with CONFIG_IKCONFIG_PROC was built with.
fn own_config() -> Option<String> {
    let output = Command::new("gzip").args(["-dc", "/proc/config.gz"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
