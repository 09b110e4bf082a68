//! One walk: every TCP socket and its holders, until the walk is complete and gives the families.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use agent_model::event::{OwnerSource, Process, SockHeld, TcpState};
use agent_model::limits::{CENSUS_FILES, CENSUS_SOCKETS, FAMILY_CGROUPS};

use super::{Counts, Growth, Kinship, ListenAddress, Member, ProcessFamily, rank};
use crate::listeners::fits;

/// What a walk has found so far.
#[derive(Debug, Default)]
pub struct Census {
    /// Index of the socket by the address of its `struct sock`.
    by_sk: HashMap<u64, u32>,
    sockets: Vec<Socket>,
    people: HashMap<u32, Person>,
    /// Which socket which process holds.
    held: Vec<(u32, u32)>,
    left_out: u64,
}

#[derive(Debug)]
struct Socket {
    netns: u32,
    cgroup: Option<u64>,
    local: SocketAddr,
    listens: bool,
    /// Who called `listen()`, if that is known.
    caller: Option<u32>,
    /// A listener's queue and its limit.
    queue: (u32, u32),
    memory: u64,
    memory_cgroup: Option<u64>,
}

#[derive(Debug)]
struct Person {
    comm: Box<str>,
    parent: u32,
}

/// A listener and the process that its family is called after.
#[derive(Clone, Copy, Debug)]
struct ListenerCount {
    socket: u32,
    root: u32,
}

impl Census {
    /// Takes in that a process holds a socket.
    pub fn add(&mut self, held: &SockHeld) {
        let Some(sk) = held.endpoint.sk else { return };
        if self.held.len() >= CENSUS_FILES
            || (self.sockets.len() >= CENSUS_SOCKETS && !self.by_sk.contains_key(&sk))
        {
            self.left_out += 1;
            return;
        }
        let index = *self.by_sk.entry(sk).or_insert_with(|| {
            self.sockets.push(Socket::of(held));
            self.sockets.len() as u32 - 1
        });
        let pid = held.holder.pid;
        self.held.push((index, pid));
        self.people
            .entry(pid)
            .or_insert_with(|| Person { comm: held.holder.comm.clone(), parent: held.parent });
    }

    /// Open files that there was no room for.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The families, and the index of each process's family.
    pub fn families(mut self) -> (Vec<ProcessFamily>, HashMap<u32, usize>) {
        self.held.sort_unstable();
        self.held.dedup();
        let listeners = self.listeners();
        let mut roots = self.roots(&listeners);
        let mut families = BTreeMap::<u32, Building>::new();
        for (index, socket) in (0..).zip(&self.sockets) {
            let holders = self.holders(index);
            let Some(&(_, first)) = holders.first() else { continue };
            let accepted = self.accepted_from(socket, &listeners, holders, &roots);
            let root = accepted.or_else(|| roots.get(&first).copied()).unwrap_or(first);
            for (_, pid) in holders {
                roots.entry(*pid).or_insert(root);
            }
            families.entry(root).or_default().take(socket, holders, accepted.is_some());
        }
        rank(families.into_iter().filter_map(|(root, family)| family.build(root, &self.people)).collect())
    }

    /// Who holds a socket, in the order of process ids.
    fn holders(&self, socket: u32) -> &[(u32, u32)] {
        let start = self.held.partition_point(|(index, _)| *index < socket);
        let end = self.held.partition_point(|(index, _)| *index <= socket);
        &self.held[start..end]
    }

    fn listeners(&self) -> HashMap<(u32, u16), Vec<ListenerCount>> {
        let mut found = HashMap::<_, Vec<_>>::new();
        for (socket, known) in (0..).zip(&self.sockets).filter(|(_, socket)| socket.listens) {
            let root = self.root(known, self.holders(socket));
            let place = (known.netns, known.local.port());
            found.entry(place).or_default().extend(root.map(|root| ListenerCount { socket, root }));
        }
        found
    }

    /// Of those that hold a listener, one whose parent does not: who called `listen()`, or the eldest.
    fn root(&self, listener: &Socket, holders: &[(u32, u32)]) -> Option<u32> {
        let holds = |pid: u32| holders.binary_search_by_key(&pid, |(_, holder)| *holder).is_ok();
        let parent = |pid: u32| self.people.get(&pid).map_or(0, |person| person.parent);
        let mut tops = holders.iter().map(|(_, pid)| *pid).filter(|pid| !holds(parent(*pid)));
        let first = tops.clone().next()?;
        Some(tops.find(|pid| Some(*pid) == listener.caller).unwrap_or(first))
    }

    /// The family of each process that holds a listener; of several listeners the one found first decides.
    fn roots(&self, listeners: &HashMap<(u32, u16), Vec<ListenerCount>>) -> HashMap<u32, u32> {
        let mut all: Vec<_> = listeners.values().flatten().collect();
        all.sort_unstable_by_key(|listener| listener.socket);
        let mut roots = HashMap::new();
        for listener in &all {
            roots.entry(listener.root).or_insert(listener.root);
        }
        for listener in all {
            let root = roots[&listener.root];
            for (_, pid) in self.holders(listener.socket) {
                roots.entry(*pid).or_insert(root);
            }
        }
        roots
    }

    /// The family that a socket was accepted in: of several listeners (`SO_REUSEPORT`) a holder's own.
    fn accepted_from(
        &self,
        socket: &Socket,
        listeners: &HashMap<(u32, u16), Vec<ListenerCount>>,
        holders: &[(u32, u32)],
        roots: &HashMap<u32, u32>,
    ) -> Option<u32> {
        let candidates = listeners.get(&(socket.netns, socket.local.port())).filter(|_| !socket.listens)?;
        let local = |listener: &&ListenerCount| self.sockets[listener.socket as usize].local;
        let fitting = || candidates.iter().filter(|listener| fits(local(listener), socket.local));
        let own = |root: u32| holders.iter().any(|(_, pid)| roots.get(pid) == Some(&root));
        let listener = fitting()
            .find(|listener| own(listener.root))
            .or_else(|| fitting().min_by_key(|listener| local(listener).ip().is_unspecified()))?;
        Some(roots.get(&listener.root).copied().unwrap_or(listener.root))
    }
}

impl Socket {
    fn of(held: &SockHeld) -> Self {
        let raw = &held.tcp.raw;
        let ahead = raw.forward_alloc.max(0).cast_unsigned();
        let caller = held.owner.as_ref().filter(|owner| owner.source == OwnerSource::Listen);
        Self {
            netns: held.endpoint.netns,
            cgroup: held.endpoint.cgroup,
            local: held.endpoint.local,
            listens: held.endpoint.state == Some(TcpState::Listen),
            caller: caller.map(|owner| owner.process.pid),
            queue: (held.accept_queue, held.backlog),
            memory: u64::from(raw.rmem_alloc) + u64::from(raw.wmem_queued) + u64::from(ahead),
            memory_cgroup: held.memory_cgroup,
        }
    }
}

/// A family while its sockets come.
#[derive(Debug, Default)]
struct Building {
    listens: Vec<ListenAddress>,
    members: BTreeMap<u32, Share>,
    counts: Counts,
    memory: u64,
    /// Memory by the cgroup that it is charged to.
    cgroups: BTreeMap<u64, u64>,
}

/// What one process holds.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    sockets: u32,
    accepted: u32,
    memory: u64,
}

impl Building {
    fn take(&mut self, socket: &Socket, holders: &[(u32, u32)], accepted: bool) {
        let Socket { netns, cgroup, local, listens, caller: _, queue, memory, memory_cgroup } = *socket;
        let (accept_queue, backlog) = queue;
        if listens {
            self.listens.push(ListenAddress { netns, cgroup, local, accept_queue, backlog });
        }
        self.memory += memory;
        if let Some(id) = memory_cgroup {
            *self.cgroups.entry(id).or_default() += memory;
        }
        self.counts.sockets += 1;
        self.counts.accepted += u32::from(accepted);
        self.counts.shared += u32::from(holders.len() > 1);
        for (_, pid) in holders {
            let share = self.members.entry(*pid).or_default();
            share.sockets += 1;
            share.accepted += u32::from(accepted);
            share.memory += memory;
        }
    }

    /// With the process ids of all members.
    fn build(self, root: u32, people: &HashMap<u32, Person>) -> Option<(ProcessFamily, Vec<u32>)> {
        let Self { listens, members: shares, mut counts, memory, cgroups } = self;
        let mut members = Vec::new();
        for (pid, share) in &shares {
            let Person { comm, parent } = people.get(pid)?;
            let kinship = if *pid == root {
                Kinship::Root
            } else if shares.contains_key(parent) {
                Kinship::Child
            } else {
                Kinship::Other
            };
            counts.children += u32::from(kinship == Kinship::Child);
            counts.children_with_one += u32::from(kinship == Kinship::Child && share.accepted == 1);
            counts.others += u32::from(kinship == Kinship::Other);
            counts.most_held = counts.most_held.max(share.sockets);
            let process = Process { pid: *pid, comm: comm.clone() };
            let Share { sockets, memory, .. } = *share;
            members.push(Member { process, parent: *parent, kinship, sockets, memory });
        }
        let root = Process { pid: root, comm: people.get(&root)?.comm.clone() };
        let family = ProcessFamily {
            root,
            listens,
            members,
            counts,
            memory,
            forks: None,
            nofile: None,
            nproc: None,
            pids: None,
            cgroups: most(cgroups),
            growth: Growth::default(),
        };
        Some((family, shares.into_keys().collect()))
    }
}

/// Those with the most memory.
fn most(cgroups: BTreeMap<u64, u64>) -> Vec<(u64, u64)> {
    let mut all: Vec<_> = cgroups.into_iter().collect();
    all.sort_by_key(|(_, memory)| std::cmp::Reverse(*memory));
    all.truncate(FAMILY_CGROUPS);
    all
}
