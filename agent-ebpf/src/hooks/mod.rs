//! One file per kernel subsystem, one program per hook.

pub mod arrival;
pub mod inet;
pub mod iter;
pub mod sched;
pub mod segment;
pub mod skb;
pub mod sock;
mod stack;
pub mod tcp;

use agent_common::count::{Count, CountKey, Socket};
use agent_common::record::{ABSENT32, Endpoint, HAS_TCP, Header, REQUEST, Record, TcpRecord};
use aya_ebpf::maps::ring_buf::RingBufEntry;

use crate::kernel::field;
use crate::snapshot::Full;
use crate::storm::{self, Counted, Permit};
use crate::{count, emit, memory, snapshot, socket};

/// Of `sk_protocol`.
pub const IPPROTO_TCP: u16 = 6;
/// Waits for a SYN-ACK.
pub const TCP_SYN_SENT: u8 = 2;
/// Listens.
pub const TCP_LISTEN: u8 = 10;

/// One event with neither segments nor bytes.
pub const ONE: Count = Count { events: 1, segments: 0, bytes: 0 };

/// Counts an event of a full socket under its workload.
#[inline(always)]
pub fn count_socket(sk: *const u8, signal: u16, detail: u16, add: &Count) -> Counted {
    let key = CountKey { cgroup: snapshot::cgroup(sk), netns: snapshot::netns_inum(sk), signal, detail };
    let row = count::add(&key, add);
    Counted { key, row }
}

/// Counts an event without a full socket: of its namespace's workloads nobody knows which.
#[inline(always)]
pub fn count_segment(netns: u32, signal: u16, detail: u16) -> Counted {
    let key = CountKey { cgroup: 0, netns, signal, detail };
    Counted { key, row: count::add(&key, &ONE) }
}

/// A record of a full TCP socket, complete but for its detail; `None` if it may not be sent now, or does not
/// fit the ring.
#[inline(always)]
pub fn tcp_record(
    full: Full,
    counted: Counted,
    socket: Option<&'static mut Socket>,
) -> Option<RingBufEntry<TcpRecord>> {
    tcp_record_with(storm::admit(counted, service_port(full.tp))?, full, socket)
}

/// The same, admitted already.
#[inline(always)]
pub fn tcp_record_with(
    permit: Permit,
    full: Full,
    socket: Option<&'static mut Socket>,
) -> Option<RingBufEntry<TcpRecord>> {
    let header = permit.header(HAS_TCP);
    let mut entry = emit::reserve::<TcpRecord>(permit)?;
    fill_tcp(entry.as_mut_ptr(), full, header, socket);
    Some(entry)
}

/// The port that trouble comes by: the peer's for a connect() in progress, whose own is another each time.
#[inline(always)]
pub fn service_port(tp: *const u8) -> u16 {
    if field!(tp, skc_state, u8) == TCP_SYN_SENT {
        u16::from_be(field!(tp, skc_dport, u16))
    } else {
        snapshot::local_port(tp)
    }
}

/// Fills everything but the detail.
#[inline(always)]
pub fn fill_tcp(record: *mut TcpRecord, full: Full, header: Header, socket: Option<&'static mut Socket>) {
    let Full { sk, tp } = full;
    // SAFETY: `record` is space for a `TcpRecord`.
    unsafe {
        let head = &raw mut (*record).record;
        snapshot::start(head, header);
        snapshot::endpoint(&raw mut (*head).endpoint, sk, snapshot::local_port(tp));
        snapshot::current(head, sk);
        snapshot::tcp(&raw mut (*record).tcp, full);
        snapshot::netns(&raw mut (*record).netns, sk);
        if let Some(socket) = socket {
            memory::copy(&raw mut (*head).owner, &raw const socket.owner);
            memory::copy(&raw mut (*record).totals, &raw const socket.totals);
        } else {
            memory::clear(&raw mut (*record).totals);
        }
    }
}

/// A record that knows no more of the socket than whose it is, complete but for its detail.
#[inline(always)]
pub fn plain_record(
    sk: *const u8,
    permit: Permit,
    local_port: u16,
    socket: Option<&'static mut Socket>,
) -> Option<RingBufEntry<Record>> {
    let header = permit.header(0);
    let mut entry = emit::reserve::<Record>(permit)?;
    let record = entry.as_mut_ptr();
    // SAFETY: `record` is reserved space for a `Record`.
    unsafe {
        snapshot::start(record, header);
        snapshot::endpoint(&raw mut (*record).endpoint, sk, local_port);
        snapshot::current(record, sk);
        if let Some(socket) = socket {
            memory::copy(&raw mut (*record).owner, &raw const socket.owner);
        }
    }
    Some(entry)
}

/// A record without a full socket, of the segment `skb`, whose ends are still to be read from it.
#[inline(always)]
pub fn segment_record(skb: *const u8, counted: Counted) -> Option<RingBufEntry<Record>> {
    bare_record(counted, segment::local_port(skb))
}

/// The same, of a segment for `port`.
#[inline(always)]
pub fn bare_record(counted: Counted, port: u16) -> Option<RingBufEntry<Record>> {
    let netns = counted.key.netns;
    let permit = storm::admit(counted, port)?;
    let header = permit.header(0);
    let mut entry = emit::reserve::<Record>(permit)?;
    let record = entry.as_mut_ptr();
    snapshot::start(record, header);
    // SAFETY: reserved space for a `Record`; integers only, so all zeroes is a value.
    unsafe {
        let endpoint: *mut Endpoint = &raw mut (*record).endpoint;
        memory::clear(endpoint);
        (*endpoint).netns = netns;
        (*endpoint).uid = ABSENT32;
        (*endpoint).protocol = IPPROTO_TCP as u8;
    }
    Some(entry)
}

/// Names the listener that stands in for one of its half-open connections, and whose it is.
#[inline(always)]
pub fn fill_listener(record: *mut Record, sk: *const u8) {
    // SAFETY: `record` is reserved space for a `Record`.
    unsafe {
        (*record).header.flags = REQUEST;
        (*record).endpoint.sk = sk as u64;
        (*record).endpoint.state = TCP_LISTEN;
        (*record).endpoint.cgroup = snapshot::cgroup(sk);
        if let Some(socket) = socket::find(sk) {
            memory::copy(&raw mut (*record).owner, &raw const socket.owner);
        }
    }
}
