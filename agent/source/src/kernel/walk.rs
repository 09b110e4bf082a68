//! A walk over the open files of every process (`agent-ebpf/src/hooks/iter.rs`), a piece at a time: a host
//! with 100,000 sockets would fill 50 MB at once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::mem::{offset_of, size_of};

use agent_common::record::{Endpoint, Record, SockHeld, Task, Tcp, TcpRecord};
use agent_model::frame::Frame;
use agent_model::limits::CGROUPS as TOLD_CGROUPS;
use bytes::BytesMut;

use super::ring::read;

/// Bytes read at a time: what the kernel buffers (`bpf_seq_read`, 8 pages).
const PIECE: usize = 32 << 10;

/// Processes of which more is reported at the end of a walk. A forking server is one.
const PROCESSES: usize = 1024;

/// Memory cgroups that are counted each by itself; those with most socket memory are reported.
const CGROUPS: usize = 1024;

/// State number of a listener.
const TCP_LISTEN: u8 = 10;

/// A walk that goes on.
#[derive(Debug)]
pub struct Walk {
    file: File,
    arena: BytesMut,
    processes: BTreeSet<u32>,
    /// Bytes of sockets by the memory cgroup; what several hold counts for each.
    cgroups: BTreeMap<u64, u64>,
    began: u64,
}

impl Walk {
    pub(super) fn new(file: File, began: u64) -> Self {
        let (processes, cgroups) = (BTreeSet::new(), BTreeMap::new());
        Self { file, arena: BytesMut::new(), processes, cgroups, began }
    }

    /// Appends the next findings to `frames`; false at the end.
    pub fn next(&mut self, frames: &mut Vec<Frame>) -> io::Result<bool> {
        let kept = self.arena.len();
        self.arena.resize(kept + PIECE, 0);
        let read = self.file.read(&mut self.arena[kept..])?;
        self.arena.truncate(kept + read);
        while self.arena.len() >= size_of::<TcpRecord>() {
            let record = self.arena.split_to(size_of::<TcpRecord>()).freeze();
            self.note(&record);
            frames.push(Frame::Record(record));
        }
        Ok(read > 0)
    }

    /// Who listens, and whose children hold sockets.
    fn note(&mut self, record: &[u8]) {
        let state = offset_of!(Record, endpoint) + offset_of!(Endpoint, state);
        let pid = offset_of!(Record, current) + offset_of!(Task, pid);
        let parent = offset_of!(Record, detail) + offset_of!(SockHeld, parent);
        let listens = record.get(state) == Some(&TCP_LISTEN);
        for at in [parent].into_iter().chain(listens.then_some(pid)) {
            let process = read(record, at).map(u32::from_ne_bytes);
            if self.processes.len() < PROCESSES {
                self.processes.extend(process);
            }
        }
        self.charge(record);
    }

    /// Notes whose memory it is.
    fn charge(&mut self, record: &[u8]) {
        let at = offset_of!(Record, detail) + offset_of!(SockHeld, memory_cgroup);
        let cgroup = read(record, at).map(u64::from_ne_bytes).filter(|id| *id != 0);
        let Some(id) = cgroup.filter(|id| self.cgroups.len() < CGROUPS || self.cgroups.contains_key(id))
        else {
            return;
        };
        let bytes =
            |at| u64::from(read(record, offset_of!(TcpRecord, tcp) + at).map_or(0, u32::from_ne_bytes));
        let memory = bytes(offset_of!(Tcp, rmem_alloc)) + bytes(offset_of!(Tcp, wmem_queued));
        *self.cgroups.entry(id).or_default() += memory;
    }

    /// Kernel ids of the memory cgroups with the most socket memory.
    pub(super) fn cgroups(&self) -> Vec<u64> {
        let mut all: Vec<_> = self.cgroups.iter().map(|(id, memory)| (Reverse(*memory), *id)).collect();
        all.sort_unstable();
        all.into_iter().take(TOLD_CGROUPS).map(|(_, id)| id).collect()
    }

    /// When it began, ns of `CLOCK_MONOTONIC`.
    pub(super) fn began(&self) -> u64 {
        self.began
    }

    /// Their process ids.
    pub(super) fn processes(&self) -> &BTreeSet<u32> {
        &self.processes
    }
}
