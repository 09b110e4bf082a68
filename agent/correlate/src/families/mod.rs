//! Process families: who listens, the children it forked, and the sockets that all of them hold.
//!
//! Made anew by each walk over open files ([`census`]); what lasts from walk to walk is how a family grew.
//! A family is the processes that hold a listener or a connection accepted from it, or one process that
//! only connects. Each socket's memory counts once, for one family, however many processes hold it.

mod census;
mod growth;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use agent_model::event::{ForkCount, Process, ProcessRow, Room, SockHeld};
use agent_model::limits::{FAMILIES, FAMILY_LISTENERS, HOLDERS, PROCESSES};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::census::Census;
pub use self::growth::{Growth, Sample};

/// A family needs this many connections before it counts as one that forks for each.
const ENOUGH: u32 = 3;

/// A process and those that share its sockets.
#[derive(Clone, Debug)]
pub struct ProcessFamily {
    /// The process that listens, or that the others descend from, or the one process of a family that only connects.
    pub root: Process,
    /// Where it listens; some of the places if there are many.
    pub listens: Vec<ListenAddress>,
    /// Its processes with sockets: the root first, then those with the most memory, at most [`HOLDERS`].
    pub members: Vec<Member>,
    /// How many of each kind.
    pub counts: Counts,
    /// Kernel memory of its sockets: receive and send queues with their overhead, and what was charged ahead
    /// of use (`sk_rmem_alloc`, `sk_wmem_queued`, `sk_forward_alloc`), bytes.
    pub memory: u64,
    /// What the root forked, all of its children, with and without sockets; `None` if that is not known.
    pub forks: Option<ForkCount>,
    /// `RLIMIT_NOFILE` of the root, if it is known and there is one.
    pub nofile: Option<u64>,
    /// `RLIMIT_NPROC` of the root, if it binds it.
    pub nproc: Option<u64>,
    /// Tasks of the root's cgroup, and its `pids.max`, if there is one.
    pub pids: Option<Room>,
    /// Kernel ids of the memory cgroups that its memory is charged to, with the bytes, the most first; at most
    /// [`FAMILY_CGROUPS`](agent_model::limits::FAMILY_CGROUPS).
    pub cgroups: Vec<(u64, u64)>,
    /// How it grew.
    pub growth: Growth,
}

/// Where a family listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// Inode of the network namespace.
    pub netns: u32,
    /// cgroup v2 id.
    pub cgroup: Option<u64>,
    /// Address and port.
    pub local: SocketAddr,
    /// Connections waiting for accept.
    pub accept_queue: u32,
    /// Most that may wait.
    pub backlog: u32,
}

/// A process of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub process: Process,
    /// Its parent's process id.
    pub parent: u32,
    /// What it is to the others.
    pub kinship: Kinship,
    /// Sockets of the family that it holds.
    pub sockets: u32,
    /// Their memory, bytes; what others hold too counts for each of them.
    pub memory: u64,
}

/// What a member of a family is to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kinship {
    /// The family is called after it.
    Root,
    /// Its parent is of the family: forked.
    Child,
    /// Neither: the socket was passed to it, or its parent holds none or is gone.
    Other,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sockets, listeners included.
    pub sockets: u32,
    /// Connections that were accepted.
    pub accepted: u32,
    /// Sockets that several processes hold.
    pub shared: u32,
    /// Members that a member forked.
    pub children: u32,
    /// Children that hold one accepted connection, no more and no less.
    pub children_with_one: u32,
    /// Members by other ways than a fork.
    pub others: u32,
    /// Most sockets that one process holds.
    pub most_held: u32,
}

impl ProcessFamily {
    /// Whether it forks a child for each connection: four of five connections are the only one of a child.
    pub fn forks_per_connection(&self) -> bool {
        let Counts { accepted, children_with_one, .. } = self.counts;
        accepted >= ENOUGH && u64::from(children_with_one) * 5 >= u64::from(accepted) * 4
    }

    /// Memory of a connection, bytes: the highest average of any walk.
    pub fn memory_each(&self) -> u64 {
        self.growth.memory_each()
    }

    /// Its connections: accepted ones, or all of a family that only connects.
    pub fn connections(&self) -> u32 {
        if self.listens.is_empty() { self.counts.sockets } else { self.counts.accepted }
    }
}

/// The families, as the last walk found them.
#[derive(Debug, Default)]
pub struct Families {
    census: Census,
    rows: HashMap<u32, ProcessRow>,
    found: Vec<ProcessFamily>,
    /// Index of the family by process id.
    by_pid: HashMap<u32, usize>,
    /// When they were found, ns of `CLOCK_MONOTONIC`.
    time: Option<u64>,
    left_out: u64,
    uncounted: u64,
    walks: Walks,
}

/// What the walks over open files cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walks {
    /// How many there were.
    pub count: u64,
    /// How long they took in total.
    pub time: Duration,
}

impl Families {
    /// Takes in what the walk found.
    pub fn held(&mut self, held: &SockHeld) {
        self.census.add(held);
    }

    /// Takes in what is known of processes.
    pub fn processes(&mut self, rows: Vec<ProcessRow>, uncounted: u64) {
        self.uncounted = self.uncounted.max(uncounted);
        let room = PROCESSES.saturating_sub(self.rows.len());
        self.rows.extend(rows.into_iter().take(room).map(|row| (row.pid, row)));
    }

    /// A walk took so many ns.
    pub fn walked(&mut self, nanos: u64) {
        self.walks.count += 1;
        self.walks.time += Duration::from_nanos(nanos);
    }

    /// What the walks cost so far.
    pub fn walks(&self) -> Walks {
        self.walks
    }

    /// The walk is complete.
    pub fn end_walk(&mut self, time: u64) {
        let (census, rows) = (std::mem::take(&mut self.census), std::mem::take(&mut self.rows));
        self.left_out += census.left_out();
        let mut before = std::mem::take(&mut self.found);
        (self.found, self.by_pid) = census.families();
        for family in &mut self.found {
            if let Some(row) = rows.get(&family.root.pid) {
                let ProcessRow { pid: _, forks, nofile, nproc, pids } = *row;
                (family.forks, family.nofile, family.nproc, family.pids) = (forks, nofile, nproc, pids);
            }
            let known = before.iter_mut().find(|known| known.root == family.root);
            family.growth = known.map(|known| std::mem::take(&mut known.growth)).unwrap_or_default();
            family.growth.note(Sample::of(family, time));
        }
        self.time = Some(time);
    }

    /// All, those with the most memory first.
    pub fn iter(&self) -> impl Iterator<Item = &ProcessFamily> {
        self.found.iter()
    }

    /// When they were found.
    pub fn time(&self) -> Option<u64> {
        self.time
    }

    /// The family of a process.
    pub fn of(&self, pid: u32) -> Option<&ProcessFamily> {
        self.found.get(*self.by_pid.get(&pid)?)
    }

    /// Sockets that no family counts, for want of space, and the most parents at a walk that the kernel side had
    /// none for.
    pub fn left_out(&self) -> u64 {
        self.left_out + self.uncounted
    }
}

/// Puts the largest first, and leaves out those for which there is no room.
fn rank(mut families: Vec<(ProcessFamily, Vec<u32>)>) -> (Vec<ProcessFamily>, HashMap<u32, usize>) {
    families.sort_by_key(|(family, _)| {
        std::cmp::Reverse((family.memory, family.counts.sockets, std::cmp::Reverse(family.root.pid)))
    });
    families.truncate(FAMILIES);
    let mut by_pid = HashMap::new();
    let mut ranked = Vec::with_capacity(families.len());
    for (index, (mut family, pids)) in families.into_iter().enumerate() {
        by_pid.extend(pids.into_iter().map(|pid| (pid, index)));
        family.listens.truncate(FAMILY_LISTENERS);
        family.members.sort_by_key(|member| {
            (member.kinship != Kinship::Root, std::cmp::Reverse(member.memory), member.process.pid)
        });
        family.members.truncate(HOLDERS);
        ranked.push(family);
    }
    (ranked, by_pid)
}

#[cfg(test)]
mod tests;
