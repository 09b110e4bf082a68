//! Stories written as records of the ABI, and what the correlator makes of them.

use std::mem::offset_of;

use agent_common::record::{OWNED, REQUEST, TIME_WAIT, TcpRecord};
use agent_common::{owner, retransmit, signal};
use agent_model::decode::decode;
use agent_model::event::{Fact, HostFacts, OwnerSource};
use agent_model::fixture::{ESTABLISHED, RecordBytes, put};
use agent_model::frame::Frame;
use agent_model::limits::Limits;

use super::Correlator;
use super::observed::Observed;
use super::query::Selector;

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

/// A correlator that decodes for itself.
pub struct Bench(pub Correlator);

impl Bench {
    pub fn new() -> Self {
        Self::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        let mut bench = Self(Correlator::new(limits));
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
        self.apply(&Frame::fact(fact.clone()));
    }

    pub fn push(&mut self, record: &RecordBytes) {
        self.apply(&record.frame());
    }

    /// Pushes a kernel event and gives what came out.
    pub fn see(&mut self, record: &RecordBytes) -> Observed {
        self.apply(&record.frame()).expect("observed")
    }

    fn apply(&mut self, frame: &Frame) -> Option<Observed> {
        self.0.apply(decode(frame).expect("an event"))
    }

    pub fn only(&self) -> &super::connection::Connection {
        let all: Vec<_> = self.0.connections().collect();
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
