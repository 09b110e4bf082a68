//! What the numbers were measured on.

use std::fs;
use std::thread;

/// One Markdown list.
pub fn facts() -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let (kernel, load) = (read("/proc/sys/kernel/osrelease"), read("/proc/loadavg"));
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(", ");
    format!("- {}, {cores} cores\n- Linux {kernel}\n- load average at the end: {load}\n", processor())
}

fn processor() -> String {
    let text = read("/proc/cpuinfo");
    let name = text.lines().find(|line| line.starts_with("model name"));
    let name = name.and_then(|line| line.split_once(": "));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
