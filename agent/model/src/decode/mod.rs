//! Bytes of the stream to typed events. Pure and total: every input gives an event or a named error.
//!
//! The kernel side writes integers only (`agent_common::record`); here they become types, what the
//! running kernel lacks becomes `None`, and what nobody may write is refused.

use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use agent_common::record::{ABSENT32, HAS_TCP, OWNED, REQUEST, TIME_WAIT};
use agent_common::{owner, record, signal};
use thiserror::Error;
use zerocopy::FromBytes;

use crate::event::{
    Detail, Endpoint, Event, KernelEvent, Owner, OwnerSource, Process, SockHeld, Tcp, TcpState, Thread, unmap,
};
use crate::frame::Frame;

#[cfg(test)]
mod tests;

/// Why a frame is no event.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// Longer or shorter than its kind of record.
    #[error("record of {actual} bytes where {expected} were expected")]
    Size {
        /// Bytes of such a record.
        expected: usize,
        /// Bytes of this one.
        actual: usize,
    },
    /// Not one of [`agent_common::signal`].
    #[error("unknown signal {0}")]
    Signal(u16),
    /// Not a TCP state.
    #[error("unknown TCP state {0}")]
    State(u32),
    /// Not one of [`agent_common::retransmit`].
    #[error("unknown kind of retransmission {0}")]
    Kind(u16),
    /// Neither IPv4 nor IPv6.
    #[error("unknown address family {0}")]
    Family(u16),
    /// Not one of [`agent_common::owner`].
    #[error("unknown way to learn an owner {0}")]
    Owner(u32),
    /// Neither send nor receive.
    #[error("unknown side of a socket's memory {0}")]
    Direction(u32),
    /// A record of a held socket must say what the socket knew.
    #[error("held socket without its facts")]
    NoTcp,
    /// Not the JSON of a [`crate::event::Fact`].
    #[error("malformed fact")]
    Fact(#[from] serde_json::Error),
}

impl DecodeError {
    /// All words of [`Self::reason`], to start their counters at 0.
    pub const REASONS: [&str; 9] =
        ["size", "signal", "state", "kind", "family", "owner", "direction", "no_tcp", "fact"];

    /// Position in [`Self::REASONS`].
    pub fn index(&self) -> usize {
        match self {
            Self::Size { .. } => 0,
            Self::Signal(_) => 1,
            Self::State(_) => 2,
            Self::Kind(_) => 3,
            Self::Family(_) => 4,
            Self::Owner(_) => 5,
            Self::Direction(_) => 6,
            Self::NoTcp => 7,
            Self::Fact(_) => 8,
        }
    }

    /// One word, the label of the metric.
    pub fn reason(&self) -> &'static str {
        Self::REASONS[self.index()]
    }
}

/// Turns one frame into an event.
pub fn decode(frame: &Frame) -> Result<Event, DecodeError> {
    match frame {
        Frame::Record(bytes) => kernel(bytes),
        Frame::Fact(fact) => Ok(Event::Fact(fact.as_ref().clone())),
        Frame::Malformed(json) => Ok(Event::Fact(serde_json::from_slice(json)?)),
    }
}

fn kernel(bytes: &[u8]) -> Result<Event, DecodeError> {
    let record: record::Record = read(bytes, 0)?;
    let tcp = tcp(bytes, &record)?;
    if record.header.signal == signal::SOCK_HELD {
        let held = SockHeld::decode(read_detail(bytes)?, &record, tcp.as_ref())?;
        return Ok(Event::SockHeld(Box::new(held)));
    }
    Ok(Event::Kernel(Box::new(KernelEvent {
        time: record.header.time,
        stands_for: record.header.stands_for.max(1),
        endpoint: endpoint(&record)?,
        current: thread(&record),
        owner: owner(&record.owner)?,
        detail: Detail::decode(bytes, &record)?,
        tcp,
    })))
}

/// The part that only full TCP sockets have; also the check of the whole record's size.
fn tcp(bytes: &[u8], record: &record::Record) -> Result<Option<Tcp>, DecodeError> {
    if record.header.flags & HAS_TCP == 0 {
        return sized(bytes, size_of::<record::Record>()).map(|()| None);
    }
    sized(bytes, size_of::<record::TcpRecord>())?;
    let record::TcpRecord { record: _, tcp: raw, netns, totals } = read(bytes, 0)?;
    Ok(Some(Tcp { raw, netns, totals }))
}

fn sized(bytes: &[u8], expected: usize) -> Result<(), DecodeError> {
    let actual = bytes.len();
    if actual == expected { Ok(()) } else { Err(DecodeError::Size { expected, actual }) }
}

pub(crate) fn endpoint(record: &record::Record) -> Result<Endpoint, DecodeError> {
    let (raw, flags) = (&record.endpoint, record.header.flags);
    let ((local, mapped), (remote, _)) = match raw.family {
        AF_INET | AF_INET6 => (address(raw.family, raw.local), address(raw.family, raw.remote)),
        // `sock_rcvqueue_full` also speaks of packet sockets, vsock and others, which have no addresses.
        _ if record.header.signal == signal::RCVQUEUE_FULL => (NO_ADDRESS, NO_ADDRESS),
        family => return Err(DecodeError::Family(family)),
    };
    Ok(Endpoint {
        sk: nonzero(raw.sk),
        cookie: nonzero(raw.cookie),
        cgroup: nonzero(raw.cgroup),
        netns: raw.netns,
        uid: (raw.uid != ABSENT32).then_some(raw.uid),
        local: SocketAddr::new(local, raw.local_port),
        remote: SocketAddr::new(remote, raw.remote_port),
        mapped,
        state: endpoint_state(raw)?,
        protocol: raw.protocol,
        time_wait: flags & TIME_WAIT != 0,
        request: flags & REQUEST != 0,
    })
}

/// Linux's number, also in `agent-ebpf`.
const AF_INET: u16 = 2;
/// Linux's number, also in `agent-ebpf`.
const AF_INET6: u16 = 10;
const NO_ADDRESS: (IpAddr, bool) = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), false);

fn address(family: u16, bytes: [u8; 16]) -> (IpAddr, bool) {
    let [a, b, c, d, ..] = bytes;
    match family {
        AF_INET => (Ipv4Addr::new(a, b, c, d).into(), false),
        _ => unmap(Ipv6Addr::from(bytes).into()),
    }
}

pub(crate) fn nonzero(value: u64) -> Option<u64> {
    (value != 0).then_some(value)
}

/// Sockets of other families have states of their own.
fn endpoint_state(raw: &record::Endpoint) -> Result<Option<TcpState>, DecodeError> {
    match (raw.family, raw.state) {
        (_, 0) => Ok(None),
        (AF_INET | AF_INET6, number) => state(number.into()).map(Some),
        _ => Ok(None),
    }
}

pub(crate) fn state(number: u32) -> Result<TcpState, DecodeError> {
    Ok(match number {
        1 => TcpState::Established,
        2 => TcpState::SynSent,
        3 => TcpState::SynRecv,
        4 => TcpState::FinWait1,
        5 => TcpState::FinWait2,
        6 => TcpState::TimeWait,
        7 => TcpState::Close,
        8 => TcpState::CloseWait,
        9 => TcpState::LastAck,
        10 => TcpState::Listen,
        11 => TcpState::Closing,
        12 => TcpState::NewSynRecv,
        _ => return Err(DecodeError::State(number)),
    })
}

/// `current` counts only where it holds the socket's lock; the idle task (pid 0) never does.
fn thread(record: &record::Record) -> Option<Thread> {
    let owned = record.header.flags & OWNED != 0 && record.current.pid != 0;
    owned.then(|| Thread { process: process(&record.current), tid: record.current.how })
}

pub(crate) fn process(task: &record::Task) -> Process {
    Process { pid: task.pid, comm: text(&task.comm) }
}

pub(crate) fn owner(task: &record::Task) -> Result<Option<Owner>, DecodeError> {
    let source = match task.how {
        owner::NONE => return Ok(None),
        owner::FILE => OwnerSource::File,
        owner::LOCK => OwnerSource::Lock,
        owner::LISTEN => OwnerSource::Listen,
        owner::CONNECT => OwnerSource::Connect,
        how => return Err(DecodeError::Owner(how)),
    };
    Ok(Some(Owner { process: process(task), source }))
}

/// A NUL-terminated name of the kernel's, in which any byte may occur.
pub(crate) fn text(bytes: &[u8]) -> Box<str> {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into()
}

/// Reads the signal's own part. Not through the union: its members can be read from the bytes as well.
pub(crate) fn read_detail<T: FromBytes>(bytes: &[u8]) -> Result<T, DecodeError> {
    const { assert!(size_of::<T>() <= size_of::<record::Detail>()) };
    read(bytes, offset_of!(record::Record, detail))
}

/// Reads a `T` at `offset`, whatever the alignment: the ring aligns to 8, a recording to nothing.
fn read<T: FromBytes>(bytes: &[u8], offset: usize) -> Result<T, DecodeError> {
    let found = bytes.get(offset..).and_then(|bytes| T::read_from_prefix(bytes).ok());
    let (value, _) =
        found.ok_or(DecodeError::Size { expected: offset + size_of::<T>(), actual: bytes.len() })?;
    Ok(value)
}
