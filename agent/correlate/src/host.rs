//! Facts about the host that give events their names and their wall clock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use agent_model::event::{CgroupMemory, Detail, HostFacts, KernelEvent, Settings, TcpMemory, Usage};
use agent_model::limits::{SHORT_CGROUPS, STACKS};
use agent_model::signals::{PacketDropped, Reason, ResetSent};

/// Functions of kernel stacks, innermost first, by the stacks' ids.
pub type Stacks = BTreeMap<i32, Arc<[Box<str>]>>;

/// What is known of the host.
#[derive(Debug)]
pub struct Host {
    facts: HostFacts,
    reset_reasons: HashMap<i32, Arc<str>>,
    drop_reasons: HashMap<i32, Arc<str>>,
    /// `CLOCK_REALTIME - CLOCK_MONOTONIC`, ns.
    offset: i64,
    stacks: Stacks,
    no_stack: Arc<[Box<str>]>,
    evicted: u64,
    tcp_memory: Option<TcpMemory>,
    usage: Option<Usage>,
    settings: Option<Settings>,
    /// Times of the first and the last event.
    span: Option<(u64, u64)>,
    /// By the cgroup of the socket.
    cgroups: BTreeMap<u64, CgroupMemory>,
    /// When the last two walks over open files ended, the older first.
    walks: [u64; 2],
}

impl Default for Host {
    fn default() -> Self {
        Self {
            facts: HostFacts::default(),
            reset_reasons: HashMap::new(),
            drop_reasons: HashMap::new(),
            offset: 0,
            stacks: BTreeMap::new(),
            no_stack: Arc::new([]),
            evicted: 0,
            tcp_memory: None,
            usage: None,
            settings: None,
            span: None,
            cgroups: BTreeMap::new(),
            walks: [0; 2],
        }
    }
}

impl Host {
    pub fn facts(&self) -> &HostFacts {
        &self.facts
    }

    pub fn set_facts(&mut self, facts: HostFacts) {
        (self.reset_reasons, self.drop_reasons) = (shared(&facts.reset_reasons), shared(&facts.drop_reasons));
        self.facts = facts;
    }

    pub fn set_clock(&mut self, offset: i64) {
        self.offset = offset;
    }

    pub fn set_tcp_memory(&mut self, memory: TcpMemory) {
        self.saw(memory.time);
        self.tcp_memory = Some(memory);
    }

    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = Some(settings);
    }

    /// The newest settings.
    pub fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
    }

    /// An event happened at this time.
    pub fn saw(&mut self, time: u64) {
        let (first, last) = self.span.unwrap_or((time, time));
        self.span = Some((first.min(time), last.max(time)));
    }

    /// Times of the first and the last event, ns of `CLOCK_MONOTONIC`.
    pub fn span(&self) -> Option<(u64, u64)> {
        self.span
    }

    pub fn set_usage(&mut self, usage: Usage) {
        self.usage = Some(usage);
    }

    /// The newest counts of tasks and files.
    pub fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }

    /// The newest state of TCP's memory.
    pub fn tcp_memory(&self) -> Option<&TcpMemory> {
        self.tcp_memory.as_ref()
    }

    /// If there is no room, the cgroup with the oldest report goes.
    pub fn set_cgroup_memory(&mut self, memory: CgroupMemory) {
        if self.cgroups.len() >= SHORT_CGROUPS && !self.cgroups.contains_key(&memory.cgroup) {
            let oldest = self.cgroups.values().min_by_key(|known| known.time).map(|known| known.cgroup);
            self.cgroups.remove(&oldest.unwrap_or_default());
        }
        self.cgroups.insert(memory.cgroup, memory);
    }

    /// A walk over open files ended.
    pub fn walked(&mut self, time: u64) {
        self.saw(time);
        self.walks = [self.walks[1], time];
    }

    /// Memory of the cgroups with the most socket memory, as the last walk found them.
    pub fn cgroups(&self) -> impl Iterator<Item = &CgroupMemory> {
        self.cgroups.values().filter(|memory| memory.time > self.walks[0])
    }

    /// The newest state of the memory of a socket's cgroup.
    pub fn cgroup_memory(&self, cgroup: u64) -> Option<&CgroupMemory> {
        self.cgroups.get(&cgroup)
    }

    pub fn add_stack(&mut self, id: i32, frames: Vec<Box<str>>) {
        if self.stacks.len() >= STACKS && !self.stacks.contains_key(&id) {
            self.stacks.pop_first();
            self.evicted += 1;
        }
        self.stacks.insert(id, frames.into());
    }

    pub fn evicted_stacks(&self) -> u64 {
        self.evicted
    }

    /// Wall clock at `time` of the monotonic clock, ns since 1970.
    pub fn realtime(&self, time: u64) -> i64 {
        time.cast_signed().wrapping_add(self.offset)
    }

    /// The kernel's name of an event's reason.
    pub fn reason(&self, event: &KernelEvent) -> Option<Arc<str>> {
        let (names, number) = match event.signal().reason()? {
            Reason::Reset(number) => (&self.reset_reasons, number),
            Reason::Drop(number) => (&self.drop_reasons, number.try_into().ok()?),
        };
        names.get(&number).cloned()
    }

    /// All that are known.
    pub fn stacks(&self) -> &Stacks {
        &self.stacks
    }

    /// Functions of the kernel stack with this id, innermost first; none if it is not known.
    pub fn stack(&self, id: Option<i32>) -> Arc<[Box<str>]> {
        id.and_then(|id| self.stacks.get(&id)).unwrap_or(&self.no_stack).clone()
    }

    /// The stack of an event.
    pub fn stack_of(&self, event: &KernelEvent) -> Arc<[Box<str>]> {
        self.stack(match event.detail {
            Detail::ResetSent(ResetSent { stack, .. }) => stack,
            Detail::PacketDropped(PacketDropped { place, .. }) => place,
            Detail::Retransmit(_)
            | Detail::SynackRetransmit(_)
            | Detail::ResetReceived(_)
            | Detail::BufLimitExceeded(_)
            | Detail::RcvqueueFull(_)
            | Detail::StateChanged(_)
            | Detail::SockDestroyed(_) => None,
        })
    }
}

/// Names that many events share.
fn shared(names: &BTreeMap<i32, Box<str>>) -> HashMap<i32, Arc<str>> {
    names.iter().map(|(number, name)| (*number, Arc::from(&**name))).collect()
}
