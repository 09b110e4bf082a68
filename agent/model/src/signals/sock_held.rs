//! An open file of a process is a TCP socket. No event: its record is of a walk over open files.

use agent_common::record;

use crate::decode::{DecodeError, endpoint, nonzero, owner, process};
use crate::event::{Endpoint, Owner, Process, Tcp};

/// A process holds a TCP socket open.
#[derive(Clone, Debug)]
pub struct SockHeld {
    /// When the walk saw it, ns of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// The socket.
    pub endpoint: Endpoint,
    /// Who.
    pub holder: Process,
    /// Its parent's process id.
    pub parent: u32,
    /// Inode of the socket.
    pub inode: u64,
    /// File descriptor.
    pub fd: u32,
    /// Connections waiting for accept, of a listener.
    pub accept_queue: u32,
    /// Limit of the accept queue, of a listener.
    pub backlog: u32,
    /// Kernel id of the memory cgroup that the socket is charged to; `None` if to none.
    pub memory_cgroup: Option<u64>,
    /// What the kernel side had learnt of the owner.
    pub owner: Option<Owner>,
    /// What the socket knew.
    pub tcp: Tcp,
}

impl SockHeld {
    /// Reads it from its record, of which `raw` is its own part.
    pub(crate) fn decode(
        raw: record::SockHeld,
        record: &record::Record,
        tcp: Option<&Tcp>,
    ) -> Result<Self, DecodeError> {
        let tcp = *tcp.ok_or(DecodeError::NoTcp)?;
        let record::SockHeld { inode, fd, parent, accept_queue, backlog, memory_cgroup } = raw;
        Ok(Self {
            time: record.header.time,
            endpoint: endpoint(record)?,
            holder: process(&record.current),
            parent,
            inode,
            fd,
            accept_queue,
            backlog,
            memory_cgroup: nonzero(memory_cgroup),
            owner: owner(&record.owner)?,
            tcp,
        })
    }
}
