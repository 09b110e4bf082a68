//! The numbers of the host and of a cgroup, as evidence and advice of all causes that are about memory.

use agent_model::event::{CgroupMemory, TcpMemory};
use agent_model::units::{plural, size};

use super::Story;

/// Size of a page.
#[derive(Clone, Copy)]
pub struct PageSize(u64);

impl PageSize {
    pub fn of(story: &Story) -> Self {
        Self(u64::from(story.host.page_size).max(1))
    }

    /// Pages that so many bytes take.
    pub fn pages(self, bytes: u64) -> u64 {
        bytes.div_ceil(self.0)
    }

    /// Bytes of so many pages.
    pub fn bytes(self, pages: u64) -> u64 {
        pages.saturating_mul(self.0)
    }
}

/// `TCP has 1.4 GiB of 2.2 GiB (66 % of tcp_mem's high), under pressure; 1200 sockets, 1.2 MiB each`
pub fn host(story: &Story) -> Option<String> {
    let memory = story.memory?;
    let page = PageSize::of(story);
    let used = page.bytes(memory.pages);
    let limit = memory
        .percent()
        .map(|percent| format!(" of {} ({percent} % of tcp_mem's high)", size(page.bytes(memory.limits[2]))));
    let pressure = if memory.pressure { ", under pressure" } else { "" };
    let each =
        used.checked_div(memory.sockets).map_or_else(String::new, |each| format!(", {} each", size(each)));
    Some(format!(
        "TCP has {}{}{pressure}; {}{each}",
        size(used),
        limit.unwrap_or_default(),
        plural(memory.sockets, "socket"),
    ))
}

/// `sockets of the cgroup have 3.0 MiB; the limit of /pod is 12.0 MiB, 12.0 MiB of it used, hit 7 times`
pub fn cgroup(memory: &CgroupMemory) -> String {
    let CgroupMemory { path, socket, used, limit, hits, version, .. } = memory;
    let limit = limit.map_or_else(|| "no limit".to_owned(), size);
    // Version 1 does not count its own for TCP on every kernel.
    let hit = if *hits > 0 { format!(", hit {}", plural(*hits, "time")) } else { String::new() };
    let what = if *version == 1 { " for TCP" } else { "" };
    format!(
        "sockets of the cgroup have {}; the limit{what} of {path} is {limit}, {} of it used{hit}",
        size(*socket),
        size(*used),
    )
}

/// The setting, with what TCP has now as half of it, and what that takes.
pub fn raise_tcp_mem(story: &Story) -> String {
    let Some(limits) = story.memory.and_then(TcpMemory::tcp_mem) else {
        return "net.ipv4.tcp_mem: raise high where memory is free (pages, taken from all else)".to_owned();
    };
    let [low, pressure, high] = limits.map(|limit| limit.saturating_mul(2));
    format!(
        "`sysctl net.ipv4.tcp_mem='{low} {pressure} {high}'`, twice as now: lets TCP have {}, taken from all else",
        size(PageSize::of(story).bytes(high))
    )
}

/// `131072 of 131072 orphans`, with the lines of the kernel log that name the limit.
pub fn orphans(memory: &TcpMemory) -> String {
    let log = memory.log.map_or_else(String::new, |lines| {
        format!(
            "; the kernel log since the agent's start: \"too many orphaned sockets\" {}, \"out of memory\" {}",
            plural(lines.too_many_orphans, "time"),
            plural(lines.out_of_memory, "time")
        )
    });
    let limit =
        memory.orphans_limit().map_or_else(String::new, |limit| format!(" of {limit} (tcp_max_orphans)"));
    format!("{}{limit}{log}", plural(memory.orphans, "orphan"))
}
