//! Stories told in records of the ABI, and what the correlator makes of them.

use std::cell::RefCell;
use std::mem::offset_of;
use std::rc::Rc;
use std::sync::Arc;

use agent_common::record::{OWNED, REQUEST, TIME_WAIT, TcpRecord};
use agent_common::{owner, retransmit, signal};

use super::limits::Limits;
use super::observed::Observed;
use super::query::Selector;
use crate::event::{Fact, HostFacts, OwnerSource};
use crate::fixture::{ESTABLISHED, RecordBytes, put};
use crate::pipeline::Pipeline;
use crate::source::frame::Frame;

mod bounds;
mod owners;
mod resets;
mod stalls;

/// `TCP_SYN_SENT`
pub const SYN_SENT: u8 = 2;
/// `TCP_FIN_WAIT2`
pub const FIN_WAIT2: u8 = 5;
/// `TCP_LAST_ACK`
pub const LAST_ACK: u8 = 9;
/// `TCP_CLOSE`
pub const CLOSE: u8 = 7;
/// `TCP_LISTEN`
pub const LISTEN: u8 = 10;
/// One second of the monotonic clock.
pub const SECOND: u64 = 1_000_000_000;
/// A socket's address.
pub const SK: u64 = 0xffff_8880_1234_5600;

type Seen = Vec<Arc<Observed>>;

/// A pipeline that keeps what it makes.
pub struct Bench(pub Pipeline<Box<dyn FnMut(Arc<Observed>)>>, Rc<RefCell<Seen>>);

impl Bench {
    pub fn new() -> Self {
        Self::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        let seen = Rc::<RefCell<Seen>>::default();
        let sink = seen.clone();
        let keep = move |observed| sink.borrow_mut().push(observed);
        let mut bench = Self(Pipeline::new(limits, Box::new(keep)), seen);
        let reset_reasons =
            [(1, "NO_SOCKET"), (9, "TCP_TIMEWAIT_SOCKET"), (11, "TCP_ABORT_ON_CLOSE"), (14, "TCP_STATE")];
        let reset_reasons = reset_reasons.into_iter().map(|(number, name)| (number, name.into())).collect();
        bench.fact(&Fact::Host(HostFacts {
            hz: 250,
            release: "6.12".into(),
            reset_reasons,
            page_size: 4096,
            ..HostFacts::default()
        }));
        bench.fact(&Fact::Clock { offset: 1_000 });
        bench
    }

    pub fn fact(&mut self, fact: &Fact) {
        self.0.push(&Frame::fact(fact));
    }

    pub fn push(&mut self, record: &RecordBytes) {
        self.0.push(&record.frame());
    }

    /// Pushes a kernel event and gives what came out.
    pub fn see(&mut self, record: &RecordBytes) -> Arc<Observed> {
        self.1.borrow_mut().clear();
        self.push(record);
        self.1.borrow_mut().pop().expect("observed")
    }

    pub fn only(&self) -> &super::connection::Connection {
        let all: Vec<_> = self.0.correlator().connections().collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0]
    }
}

/// The connection of most tests.
pub fn record(signal: u16, time: u64) -> RecordBytes {
    RecordBytes::tcp(signal, time).socket(SK, 42).ends("10.0.0.1:40000", "10.0.0.2:443")
}

pub fn timeout(time: u64, stage: u8, rto: u32) -> RecordBytes {
    let mut record = record(signal::RETRANSMIT, time).retransmit(retransmit::TIMEOUT);
    put!(record, tcp.retransmits, stage);
    put!(record, tcp.rto, rto);
    put!(record, tcp.snd_una, 1000_u32);
    put!(record, tcp.snd_nxt, 2448_u32);
    put!(record, tcp.total_retrans, u32::from(stage));
    let segments = offset_of!(TcpRecord, totals.segments) + 4 * usize::from(retransmit::TIMEOUT);
    record.put(segments, &u32::from(stage).to_ne_bytes());
    record
}

pub fn listen(time: u64, sk: u64, local: &str) -> RecordBytes {
    let remote = if local.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let record = RecordBytes::tcp(signal::STATE_CHANGED, time).socket(sk, sk & 0xff).ends(local, remote);
    record.change(CLOSE, LISTEN).owner(100, "nginx", owner::LISTEN)
}
