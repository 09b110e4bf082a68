//! Records built by hand, byte by byte as the kernel side writes them, for unit tests.

use std::mem::offset_of;
use std::net::{IpAddr, SocketAddr};

pub use agent_common::record::TcpRecord;
use agent_common::record::{ABSENT32, HAS_TCP, NO_REASON, NO_STACK, Record};
use bytes::Bytes;

use crate::event::{Endpoint, TcpState};
use crate::frame::Frame;

/// The bytes of one record.
#[derive(Clone, Debug)]
pub struct RecordBytes(Vec<u8>);

/// Sets one field, by its path in `TcpRecord`.
#[macro_export]
#[doc(hidden)]
macro_rules! put {
    ($record:expr, $($field:ident).+, $value:expr) => {
        $record.put(core::mem::offset_of!($crate::fixture::TcpRecord, $($field).+), &$value.to_ne_bytes())
    };
}
pub use crate::put;

/// `TCP_ESTABLISHED`
pub const ESTABLISHED: u8 = 1;

impl RecordBytes {
    /// A record with a full socket: ESTABLISHED, of TCP, nothing else known.
    pub fn tcp(signal: u16, time: u64) -> Self {
        let mut record = Self(vec![0; size_of::<TcpRecord>()]);
        put!(record, record.header.flags, HAS_TCP);
        put!(record, record.endpoint.state, ESTABLISHED);
        put!(record, tcp.has_socket, 1_u8);
        record.start(signal, time)
    }

    /// A record without one.
    pub fn plain(signal: u16, time: u64) -> Self {
        Self(vec![0; size_of::<Record>()]).start(signal, time)
    }

    fn start(mut self, signal: u16, time: u64) -> Self {
        put!(self, record.header.signal, signal);
        put!(self, record.header.time, time);
        put!(self, record.header.stands_for, 1_u32);
        put!(self, record.endpoint.uid, ABSENT32);
        put!(self, record.endpoint.protocol, 6_u8);
        put!(self, record.endpoint.netns, 4_026_531_840_u32);
        self.ends("0.0.0.0:0", "0.0.0.0:0")
    }

    /// Overwrites bytes; see [`put`].
    pub fn put(&mut self, offset: usize, value: &[u8]) {
        self.0[offset..offset + value.len()].copy_from_slice(value);
    }

    /// The socket's address and cookie.
    #[must_use]
    pub fn socket(mut self, sk: u64, cookie: u64) -> Self {
        put!(self, record.endpoint.sk, sk);
        put!(self, record.endpoint.cookie, cookie);
        self
    }

    /// Local and remote end.
    #[must_use]
    pub fn ends(mut self, local: &str, remote: &str) -> Self {
        let (local, remote): (SocketAddr, SocketAddr) = (local.parse().unwrap(), remote.parse().unwrap());
        put!(self, record.endpoint.family, if local.is_ipv4() { 2_u16 } else { 10 });
        self.put(offset_of!(TcpRecord, record.endpoint.local), &octets(local.ip()));
        self.put(offset_of!(TcpRecord, record.endpoint.remote), &octets(remote.ip()));
        put!(self, record.endpoint.local_port, local.port());
        put!(self, record.endpoint.remote_port, remote.port());
        self
    }

    /// The socket's state.
    #[must_use]
    pub fn state(mut self, state: u8) -> Self {
        put!(self, record.endpoint.state, state);
        self
    }

    /// Further header flags.
    #[must_use]
    pub fn flags(mut self, flags: u16) -> Self {
        let at = offset_of!(TcpRecord, record.header.flags);
        let old = u16::from_ne_bytes([self.0[at], self.0[at + 1]]);
        put!(self, record.header.flags, old | flags);
        self
    }

    /// The task that runs: process, and `how` (its thread's id).
    #[must_use]
    pub fn current(mut self, pid: u32, comm: &str) -> Self {
        put!(self, record.current.pid, pid);
        put!(self, record.current.how, pid);
        self.put(offset_of!(TcpRecord, record.current.comm), comm.as_bytes());
        self
    }

    /// The owner that the kernel side remembers.
    #[must_use]
    pub fn owner(mut self, pid: u32, comm: &str, how: u32) -> Self {
        put!(self, record.owner.pid, pid);
        put!(self, record.owner.how, how);
        self.put(offset_of!(TcpRecord, record.owner.comm), comm.as_bytes());
        self
    }

    /// Detail of a retransmission.
    #[must_use]
    pub fn retransmit(mut self, kind: u16) -> Self {
        put!(self, record.detail.retransmit.kind, kind);
        put!(self, record.detail.retransmit.segments, 1_u16);
        self
    }

    /// Detail of a reset.
    #[must_use]
    pub fn reset(mut self, reason: i32, active: bool) -> Self {
        put!(self, record.detail.reset_sent.reason, reason);
        put!(self, record.detail.reset_sent.stack, NO_STACK);
        put!(self, record.detail.reset_sent.active, u8::from(active));
        self
    }

    /// Detail of a reset for which the kernel gives no reason.
    #[must_use]
    pub fn reset_without_reason(self, active: bool) -> Self {
        self.reset(NO_REASON, active)
    }

    /// Detail of a change of state; the endpoint has the old one.
    #[must_use]
    pub fn change(mut self, old: u8, new: u8) -> Self {
        put!(self, record.detail.state_changed.old, u32::from(old));
        put!(self, record.detail.state_changed.new, u32::from(new));
        self.state(old)
    }

    /// Detail of a held socket, and its holder.
    #[must_use]
    pub fn held(mut self, pid: u32, comm: &str, parent: u32, fd: u32) -> Self {
        put!(self, record.detail.sock_held.inode, 7777_u64);
        put!(self, record.detail.sock_held.fd, fd);
        put!(self, record.detail.sock_held.parent, parent);
        put!(self, record.detail.sock_held.backlog, 128_u32);
        self.current(pid, comm)
    }

    /// The frame.
    pub fn frame(&self) -> Frame {
        Frame::Record(Bytes::copy_from_slice(&self.0))
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    let mut to = [0; 16];
    match address {
        IpAddr::V4(v4) => to[..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => to = v6.octets(),
    }
    to
}

/// A socket of TCP between two ends; with a state a full one, which has a process and a cgroup.
pub fn endpoint(local: &str, remote: &str, state: Option<TcpState>) -> Endpoint {
    Endpoint {
        sk: state.map(|_| 0xffff_8881_0000_0000),
        cookie: state.map(|_| 0x2a),
        cgroup: state.map(|_| 4177),
        netns: 4_026_531_840,
        uid: state.map(|_| 1000),
        local: local.parse().unwrap(),
        remote: remote.parse().unwrap(),
        mapped: false,
        state,
        protocol: 6,
        time_wait: false,
        request: false,
    }
}
