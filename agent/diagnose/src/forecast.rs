//! Which limit a family of processes reaches first if it goes on as it does.
//!
//! Of each limit it is known how much the whole host uses and how much one more connection of the family takes. From
//! these follows at how many connections the family reaches it, and from the family's growth when.

use agent_correlate::Correlator;
use agent_correlate::families::ProcessFamily;
use agent_model::event::{Room, TcpMemory, Usage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// A limit that connections use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// `net.ipv4.tcp_mem`, third value: memory is refused above it. Bytes.
    TcpMem,
    /// The memory limit of the family's cgroup. Bytes.
    Cgroup,
    /// `net.ipv4.tcp_max_orphans`, if all of the family's connections are closed at once.
    TcpMaxOrphans,
    /// `kernel.pid_max`: tasks of the whole host, threads included.
    PidMax,
    /// `kernel.threads-max`, likewise.
    ThreadsMax,
    /// `RLIMIT_NPROC` of the family, if root does not run it.
    Nproc,
    /// `pids.max` of the family's cgroup: tasks of all inside, threads included.
    Pids,
    /// `fs.file-max`: open files of the whole host.
    FileMax,
    /// `RLIMIT_NOFILE`: open files of one process.
    Nofile,
    /// The backlog of `listen()`, at most `net.core.somaxconn`: connections that wait for accept.
    Backlog,
}

/// When a limit is reached.
#[skip_serializing_none]
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Forecast {
    /// Which.
    pub bound: Bound,
    /// The limit.
    pub limit: u64,
    /// How much of it is used now, by whomever.
    pub used: u64,
    /// What one more connection takes.
    pub each: f64,
    /// Connections that the family has when it is reached.
    pub connections: u64,
    /// When that is, s from now; absent if the family does not grow.
    pub seconds: Option<f64>,
}

/// What is known of the host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings<'a> {
    /// TCP's memory.
    pub memory: Option<&'a TcpMemory>,
    /// Tasks and files.
    pub usage: Option<&'a Usage>,
    /// Memory of the family's cgroup, or of the one above it whose limit is nearest, bytes.
    pub cgroup: Option<Room>,
    /// Bytes of a page.
    pub page_size: u32,
}

/// Limits that a family reaches if it goes on as it does, the first one first.
pub fn of(correlator: &Correlator, family: &ProcessFamily) -> Vec<Forecast> {
    let cgroup = family.cgroups.first().and_then(|(id, _)| correlator.cgroup_memory(*id));
    let around = Surroundings {
        memory: correlator.tcp_memory(),
        usage: correlator.usage(),
        cgroup: cgroup.and_then(|cgroup| Some(Room { used: cgroup.used, limit: cgroup.limit? })),
        page_size: correlator.host().page_size,
    };
    forecast(family, &around)
}

/// All limits that more connections would reach, the first one first.
pub fn forecast(family: &ProcessFamily, around: &Surroundings) -> Vec<Forecast> {
    let Some(connections) = Some(f64::from(family.connections())).filter(|count| *count > 0.0) else {
        return Vec::new();
    };
    let rate = family.growth.rate().filter(|rate| *rate > 0.0);
    let bounds = bounds(family, around, connections);
    let mut all: Vec<_> = bounds
        .into_iter()
        .filter(|(_, limit, _, each)| *limit > 0 && *each > 0.0)
        .map(|(bound, limit, used, each)| {
            let more = limit.saturating_sub(used) as f64 / each;
            let seconds = rate.map(|rate| more / rate);
            Forecast { bound, limit, used, each, connections: (connections + more) as u64, seconds }
        })
        .collect();
    all.sort_by_key(|forecast| (forecast.connections, forecast.bound));
    all
}

/// Limit, how much of it is used, and what a connection takes.
fn bounds(family: &ProcessFamily, around: &Surroundings, connections: f64) -> Vec<(Bound, u64, u64, f64)> {
    let mut bounds = Vec::new();
    let memory_each = family.memory_each() as f64;
    if let Some(memory) = around.memory {
        let bytes = |pages: u64| pages.saturating_mul(around.page_size.into());
        bounds.push((Bound::TcpMem, bytes(memory.limits[2]), bytes(memory.pages), memory_each));
        // Whatever it has now may be closed too.
        let used = memory.orphans + u64::from(family.connections());
        bounds.push((Bound::TcpMaxOrphans, memory.max_orphans, used, 1.0));
    }
    bounds.extend(around.cgroup.map(|Room { used, limit }| (Bound::Cgroup, limit, used, memory_each)));
    let children = f64::from(family.counts.children) / connections;
    if let Some(usage) = around.usage {
        let files = f64::from(family.counts.sockets) / connections;
        bounds.push((Bound::PidMax, usage.pid_max, usage.tasks, children));
        bounds.push((Bound::ThreadsMax, usage.threads_max, usage.tasks, children));
        bounds.push((Bound::FileMax, usage.file_max, usage.files, files));
    }
    let members = u64::from(family.counts.children) + 1;
    bounds.extend(family.nproc.map(|limit| (Bound::Nproc, limit, members, children)));
    bounds.extend(family.pids.map(|Room { used, limit }| (Bound::Pids, limit, used, children)));
    let held = u64::from(family.counts.most_held);
    if family.counts.children_with_one == 0 {
        bounds.extend(family.nofile.map(|limit| (Bound::Nofile, limit, held, held as f64 / connections)));
    }
    let waiting = family.listens.iter().max_by_key(|place| place.accept_queue);
    bounds.extend(waiting.map(|place| {
        let queue = place.accept_queue;
        (Bound::Backlog, place.backlog.into(), queue.into(), f64::from(queue) / connections)
    }));
    bounds
}

impl Bound {
    /// Its name, as settings and manuals have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::TcpMem => "net.ipv4.tcp_mem (high)",
            Self::Cgroup => "the cgroup's memory limit",
            Self::TcpMaxOrphans => "net.ipv4.tcp_max_orphans",
            Self::PidMax => "kernel.pid_max",
            Self::ThreadsMax => "kernel.threads-max",
            Self::Nproc => "RLIMIT_NPROC",
            Self::Pids => "pids.max of the cgroup",
            Self::FileMax => "fs.file-max",
            Self::Nofile => "RLIMIT_NOFILE",
            Self::Backlog => "the backlog of listen()",
        }
    }

    /// Whether it counts bytes.
    pub fn is_memory(self) -> bool {
        matches!(self, Self::TcpMem | Self::Cgroup)
    }
}

#[cfg(test)]
mod tests {
    use agent_correlate::families::{Counts, Growth};
    use agent_model::event::Process;

    use super::*;

    const KIB: u64 = 1024;

    fn family(connections: u32, memory: u64) -> ProcessFamily {
        let counts = Counts {
            sockets: connections + 1,
            accepted: connections,
            children: connections,
            children_with_one: connections,
            most_held: 2,
            ..Counts::default()
        };
        let place = agent_correlate::families::ListenAddress {
            netns: 1,
            cgroup: None,
            local: "192.0.2.1:80".parse().unwrap(),
            accept_queue: 0,
            backlog: 128,
        };
        let mut family = ProcessFamily {
            root: Process { pid: 1, comm: "httpd".into() },
            listens: vec![place],
            members: Vec::new(),
            counts,
            memory,
            forks: None,
            nofile: Some(1024),
            nproc: None,
            pids: None,
            cgroups: Vec::new(),
            growth: Growth::default(),
        };
        family.growth = Growth::of(&[(0, connections / 2, memory / 2), (10, connections, memory)]);
        family
    }

    fn memory(pages: u64, high: u64) -> TcpMemory {
        TcpMemory {
            pages,
            limits: [high / 2, high * 3 / 4, high],
            max_orphans: 65_536,
            ..TcpMemory::default()
        }
    }

    #[test]
    fn ten_thousand_connections_of_32_kib_are_320_mb() {
        // 1000 connections with 32 KiB each; tcp_mem high of 762 MiB, of which they are all there is.
        let memory = memory(8000, 195_072);
        let usage = Usage { tasks: 1200, pid_max: 32_768, threads_max: 100_000, ..Usage::default() };
        let around =
            Surroundings { memory: Some(&memory), usage: Some(&usage), cgroup: None, page_size: 4096 };
        let all = forecast(&family(1000, 32 * KIB * 1000), &around);
        let of = |bound| *all.iter().find(|forecast| forecast.bound == bound).unwrap();
        assert_eq!(of(Bound::TcpMem).connections, 24_384, "762 MiB / 32 KiB");
        assert_eq!(of(Bound::PidMax).connections, 1000 + 31_568);
        assert_eq!(all[0].bound, Bound::TcpMem);
        // 50 connections a second more.
        assert_eq!(all[0].seconds, Some(23_384.0 / 50.0));
        assert!(
            all.iter().all(|forecast| forecast.bound != Bound::Nofile),
            "each child has files of its own"
        );
    }

    #[test]
    fn what_the_cgroup_and_the_user_may_fork_is_a_limit() {
        let mut family = family(1000, 32 * KIB * 1000);
        family.pids = Some(Room { used: 1100, limit: 4915 });
        family.nproc = Some(2000);
        let cgroup = Some(Room { used: 40 << 20, limit: 64 << 20 });
        let all = forecast(&family, &Surroundings { cgroup, page_size: 4096, ..Surroundings::default() });
        let of = |bound| all.iter().find(|forecast| forecast.bound == bound).map(|one| one.connections);
        // 24 MiB more at 32 KiB each; 2000 processes of which one is the parent; 3815 tasks more.
        assert_eq!(
            (of(Bound::Cgroup), of(Bound::Nproc), of(Bound::Pids)),
            (Some(1768), Some(1999), Some(4815))
        );
        assert_eq!(all[0].bound, Bound::Cgroup);
    }

    #[test]
    fn one_process_for_all_runs_out_of_descriptors() {
        let mut family = family(500, 0);
        family.counts = Counts { children: 0, children_with_one: 0, most_held: 501, ..family.counts };
        let all = forecast(&family, &Surroundings::default());
        assert_eq!((all[0].bound, all[0].connections), (Bound::Nofile, 1021));
        assert!(all.iter().all(|forecast| forecast.bound != Bound::TcpMem), "nothing is known of it");
    }

    #[test]
    fn a_queue_that_fills_is_a_limit_and_no_connections_are_none() {
        let mut family = family(100, 0);
        family.listens[0].accept_queue = 64;
        assert_eq!(forecast(&family, &Surroundings::default())[0].connections, 200);
        family.counts.accepted = 0;
        assert!(forecast(&family, &Surroundings::default()).is_empty());
    }
}
