//! Reads the ring, and puts before the records the facts that they need.

use std::collections::HashSet;
use std::mem::offset_of;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};
use std::{io, thread};

use agent_common::record::{self, PLACES_FROM, PacketDropped, Record, ResetSent};
use agent_common::signal;
use agent_model::event::{Fact, HostFacts, Settings};
use agent_model::frame::Frame;
use aya::Ebpf;
use aya::maps::{MapData, RingBuf, StackTraceMap};
use aya::programs::Iter;
use bytes::BytesMut;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

use super::facts::{self, Clock};
use super::processes::{self, Processes};
use super::shortage::Shortage;
use super::symbols::Symbols;
use super::walk::Walk;
use crate::host::settings;

/// How often the ring is looked into while records come: the kernel side wakes nobody more often than this
/// (`agent-ebpf/src/emit.rs`, `WAKE_INTERVAL`).
const INTERVAL: Duration = Duration::from_millis(10);

/// How long the reader goes on looking after the last record or wake-up before it sleeps until woken. Longer
/// than the kernel side's interval, so that a record which woke nobody is found.
const LINGER: Duration = Duration::from_millis(50);

/// Records taken at most before the rest of the agent gets its turn: 4.5 MB, as much as the ring holds by default.
/// In a storm they wait here for the pipeline, so that the ring is empty again for what comes meanwhile.
const BATCH: usize = 8192;

/// Bytes that records are copied into, one after the other: large enough to be a mapping of its own
/// (`live::heap`), which goes as a whole when the last of its records is done with.
const ARENA: usize = 256 << 10;

/// How often the ring is looked into while names are looked up.
const GLANCE: Duration = Duration::from_millis(2);

/// Walks over all open files at most this often.
pub const WALK_INTERVAL: Duration = Duration::from_secs(1);

/// Stacks named; as many as the kernel side's maps hold: those of resets, and those of drops.
const MAX_STACKS: usize = 1024 + 2048;

/// The maps that have kernel stacks.
pub(super) struct Stacks {
    /// Of active resets.
    pub(super) resets: StackTraceMap<MapData>,
    /// Of drops: short ones, whose ids are raised by [`PLACES_FROM`].
    pub(super) drops: StackTraceMap<MapData>,
}

/// The reader of the ring. The programs are attached for as long as it lives.
pub struct Ring {
    events: RingBuf<MapData>,
    /// The ring as what wakes the reader, once it has waited.
    wake_ups: Option<AsyncFd<OwnedFd>>,
    stacks: Stacks,
    processes: Processes,
    shortage: Shortage,
    ebpf: Ebpf,
    can_walk: bool,
    host: HostFacts,
    clock: Clock,
    symbols: Symbols,
    named_stacks: HashSet<i32>,
    sent_settings: Option<Settings>,
    /// The last read ended at [`BATCH`].
    has_more: bool,
    last_sign: Option<Instant>,
    last_walk: Option<Instant>,
    arena: BytesMut,
}

impl Ring {
    pub(super) fn new(
        events: RingBuf<MapData>,
        stacks: Stacks,
        processes: Processes,
        shortage: Shortage,
        ebpf: Ebpf,
        host: HostFacts,
        can_walk: bool,
    ) -> Self {
        Self {
            events,
            wake_ups: None,
            stacks,
            processes,
            shortage,
            ebpf,
            can_walk,
            host,
            clock: Clock::default(),
            symbols: Symbols::open(),
            named_stacks: HashSet::new(),
            sent_settings: None,
            has_more: false,
            last_sign: None,
            last_walk: None,
            arena: BytesMut::new(),
        }
    }

    /// Waits for records and appends them to `frames`, each after the facts it needs. Cancel safe.
    pub async fn next(&mut self, frames: &mut Vec<Frame>) -> io::Result<()> {
        while frames.is_empty() {
            self.wait().await?;
            self.drain(frames);
        }
        let set = self.clock()?;
        frames.splice(..0, set);
        Ok(())
    }

    /// Appends the records that are there, each after the facts it needs, the wall clock among them.
    pub fn read(&mut self, frames: &mut Vec<Frame>) -> io::Result<()> {
        let first = frames.len();
        self.drain(frames);
        let set = self.clock()?;
        frames.splice(first..first, set);
        Ok(())
    }

    /// The wall clock, if it was never sent or was set since.
    pub fn clock(&mut self) -> io::Result<Option<Frame>> {
        Ok(self.clock.step().map(|offset| Frame::fact(Fact::Clock { offset })))
    }

    /// Appends what must come first in the stream.
    pub fn append_first(&mut self, frames: &mut Vec<Frame>) -> io::Result<()> {
        frames.push(Frame::fact(Fact::Host(self.host.clone())));
        frames.extend(self.clock()?);
        frames.extend(self.shortage.tcp_memory());
        frames.extend(self.settings());
        Ok(())
    }

    /// Settings, if they were never sent or changed since.
    fn settings(&mut self) -> Option<Frame> {
        let settings = settings::settings();
        let is_news = self.sent_settings.as_ref() != Some(&settings);
        is_news.then(|| Frame::fact(Fact::Settings(self.sent_settings.insert(settings).clone())))
    }

    async fn wait(&mut self) -> io::Result<()> {
        if self.has_more {
            // The rest of the agent gets its turn, no more: the ring fills while nobody looks.
            tokio::task::yield_now().await;
        } else if self.last_sign.is_some_and(|last| last.elapsed() < LINGER) {
            sleep(INTERVAL).await;
        } else {
            self.wake_ups()?.readable().await?.clear_ready();
            // The record that woke us may have to wait for an earlier one, still being written by another
            // processor, which will wake nobody.
            self.last_sign = Some(Instant::now());
        }
        Ok(())
    }

    /// The runtime that waits first is the one that is woken: that of the thread which reads, not of the one that
    /// attached.
    fn wake_ups(&mut self) -> io::Result<&AsyncFd<OwnedFd>> {
        let wake_ups = if let Some(wake_ups) = self.wake_ups.take() {
            wake_ups
        } else {
            let events = self.events.as_fd().try_clone_to_owned()?;
            // SAFETY: the descriptor is the value's own, and nobody changes it.
            unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) }.map_err(io::Error::from)?
        };
        Ok(self.wake_ups.insert(wake_ups))
    }

    /// Appends what is there already, at most as much as keeps the rest of the agent waiting.
    pub fn drain(&mut self, frames: &mut Vec<Frame>) {
        let first = frames.len();
        let new_stacks = self.take(frames);
        if !new_stacks.is_empty() {
            self.name_stacks(&new_stacks, first, frames);
        }
        // Ahead of the records: some of them are judged by it.
        frames.splice(first..first, self.shortage.news());
        self.has_more = frames.len() >= BATCH;
        if frames.len() > first {
            self.last_sign = Some(Instant::now());
        }
    }

    /// Appends records; the stacks among them that were not named before.
    fn take(&mut self, frames: &mut Vec<Frame>) -> Vec<i32> {
        let ring = &mut self.events;
        let mut new_stacks = Vec::new();
        while frames.len() < BATCH {
            let Some(item) = ring.next() else { break };
            if let Some(id) = stack_of(&item)
                && self.named_stacks.len() < MAX_STACKS
                && self.named_stacks.insert(id)
            {
                new_stacks.push(id);
            }
            self.shortage.see(&item);
            if self.arena.capacity() < item.len() {
                self.arena.reserve(ARENA);
            }
            self.arena.extend_from_slice(&item);
            frames.push(Frame::Record(self.arena.split().freeze()));
        }
        new_stacks
    }

    /// From `first` on, ahead of the records, since some of them are the stacks'. The ring is read on while
    /// another thread looks through the kernel's symbols, which takes tens of milliseconds.
    fn name_stacks(&mut self, ids: &[i32], first: usize, frames: &mut Vec<Frame>) {
        let mut stacks = self.addresses(ids);
        while let unknown = self.symbols.unknown(stacks.iter().flat_map(|(_, at)| at).copied())
            && !unknown.is_empty()
        {
            let search = self.symbols.look_up(unknown);
            while !search.is_finished() {
                thread::sleep(GLANCE);
                let more = self.take(frames);
                stacks.extend(self.addresses(&more));
            }
            let Ok(found) = search.join() else { break };
            self.symbols.learn(found);
        }
        let facts = stacks.iter().map(|(id, addresses)| {
            Frame::fact(Fact::Stack { id: *id, frames: self.symbols.name(addresses) })
        });
        frames.splice(first..first, facts);
    }

    fn addresses(&self, ids: &[i32]) -> Vec<(i32, Vec<u64>)> {
        ids.iter().map(|&id| (id, self.stack_addresses(id))).collect()
    }

    fn stack_addresses(&self, id: i32) -> Vec<u64> {
        let id = id.cast_unsigned();
        let trace = match id.checked_sub(PLACES_FROM) {
            Some(place) => self.stacks.drops.get(&place, 0),
            None => self.stacks.resets.get(&id, 0),
        };
        trace.map(|trace| trace.frames().iter().map(|frame| frame.ip).collect()).unwrap_or_default()
    }

    /// What does not change while the agent runs.
    pub fn host(&self) -> &HostFacts {
        &self.host
    }

    /// Begins a walk over the open files of every process. `None` where the iterator is missing, and if the
    /// last one began less than [`WALK_INTERVAL`] ago.
    pub fn begin_walk(&mut self) -> anyhow::Result<Option<Walk>> {
        if !self.can_walk || self.last_walk.is_some_and(|last| last.elapsed() < WALK_INTERVAL) {
            return Ok(None);
        }
        self.last_walk = Some(Instant::now());
        let program =
            self.ebpf.program_mut(signal::word::SOCK_HELD).ok_or_else(|| anyhow::anyhow!("no iterator"))?;
        let program: &mut Iter = program.try_into()?;
        let link = program.attach()?;
        Ok(Some(Walk::new(program.take_link(link)?.into_file()?, facts::monotonic()?)))
    }

    /// Ends a walk: appends what else is known of the processes that it found, and that it is complete.
    pub fn end_walk(&mut self, walk: &Walk, frames: &mut Vec<Frame>) -> io::Result<()> {
        let time = facts::monotonic()?;
        let took = time.saturating_sub(walk.began());
        let facts = self.processes.facts(walk.processes(), time).into_iter();
        frames.extend(self.shortage.cgroup_memory(&walk.cgroups()));
        frames.extend(self.settings());
        let end = [Fact::Usage(processes::usage(time, took)), Fact::WalkDone { time }];
        frames.extend(facts.chain(end).map(Frame::fact));
        Ok(())
    }
}

/// The signal of a record.
pub(super) fn signal_of(record: &[u8]) -> Option<u16> {
    read(record, offset_of!(Record, header) + offset_of!(record::Header, signal)).map(u16::from_ne_bytes)
}

/// The stack id of an active reset's record, or of a drop's.
fn stack_of(record: &[u8]) -> Option<i32> {
    let (at, least) = match signal_of(record)? {
        signal::RESET_SENT => (offset_of!(ResetSent, stack), 0),
        signal::PACKET_DROPPED => (offset_of!(PacketDropped, place), PLACES_FROM.cast_signed()),
        _ => return None,
    };
    let stack = read::<4>(record, offset_of!(Record, detail) + at)?;
    Some(i32::from_ne_bytes(stack)).filter(|&id| id >= least)
}

/// `N` bytes of a record.
pub(super) fn read<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}
