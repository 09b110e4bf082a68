//! What happens to connections, in records of the ABI, for unit tests.

use std::sync::Arc;

use agent_common::record::{DROPPED_OUT, OWNED, PLACES_FROM, TcpRecord};
use agent_common::{owner, retransmit, signal};
use agent_correlate::connection::Connection;
use agent_correlate::observed::Observed;
use agent_model::cause::Cause;
use agent_model::decode::decode;
use agent_model::event::{Fact, HostFacts};
use agent_model::fixture::{RecordBytes, put};
use agent_model::frame::Frame;
use agent_model::limits::Limits;

use crate::judge::{Judge, Verdicts};
use crate::{Diagnosed, Diagnosis};

/// `TCP_SYN_SENT`
pub const SYN_SENT: u8 = 2;
/// `TCP_FIN_WAIT1`
pub const FIN_WAIT1: u8 = 4;
/// `TCP_FIN_WAIT2`
pub const FIN_WAIT2: u8 = 5;
/// `TCP_CLOSE`
pub const CLOSE: u8 = 7;
/// `TCP_LISTEN`
pub const LISTEN: u8 = 10;
/// Id of the stack of drops.
const PLACE: i32 = PLACES_FROM.cast_signed() + 7;
/// One second of the monotonic clock.
pub const SECOND: u64 = 1_000_000_000;
/// Address of the server's socket.
pub const SK: u64 = 0xffff_8880_1234_5600;
/// The kernel's HZ.
pub const HZ: u32 = 250;
/// The end of most stories.
pub const SERVER: &str = "10.0.0.1:80";
/// Its peer.
pub const CLIENT: &str = "10.0.0.2:5555";

/// Keeps diagnoses.
#[derive(Debug, Default)]
struct Kept(Vec<Diagnosis>);

impl Verdicts for Kept {
    fn observed(&mut self, _: &Arc<Observed>, _: Option<&Connection>) {}

    fn diagnosed(&mut self, diagnosed: Diagnosed, _: Option<&Connection>) {
        self.0.push(diagnosed.diagnosis);
    }
}

/// A judge that decodes for itself, and what it said.
#[derive(Debug)]
pub struct Bench(pub Judge, Kept);

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

impl Bench {
    /// A kernel that names its reasons.
    pub fn new() -> Self {
        Self::with(&[
            (1, "NO_SOCKET"),
            (8, "TCP_ABORT_ON_DATA"),
            (9, "TCP_TIMEWAIT_SOCKET"),
            (10, "INVALID_SYN"),
            (11, "TCP_ABORT_ON_CLOSE"),
            (12, "TCP_ABORT_ON_LINGER"),
            (13, "TCP_ABORT_ON_MEMORY"),
            (14, "TCP_STATE"),
            (15, "TCP_KEEPALIVE_TIMEOUT"),
            (16, "TCP_FLAGS"),
            (99, "SOMETHING_NEW"),
        ])
    }

    /// Before 6.10.
    pub fn old() -> Self {
        Self::with(&[])
    }

    fn with(reasons: &[(i32, &str)]) -> Self {
        let mut bench = Self(Judge::new(Limits::default()), Kept::default());
        let drop_reasons = [
            (2, "NOT_SPECIFIED"),
            (12, "NETFILTER_DROP"),
            (16, "IP_RPFILTER"),
            (20, "PROTO_MEM"),
            (40, "TCP_LISTEN_OVERFLOW"),
            (63, "IP_OUTNOROUTES"),
            (64, "QDISC_DROP"),
            (68, "CPU_BACKLOG"),
            (71, "PKT_TOO_BIG"),
        ]
        .map(|(number, name)| (number, name.into()))
        .into();
        let reset_reasons = reasons.iter().map(|&(number, name)| (number, name.into())).collect();
        bench.fact(&Fact::Host(HostFacts {
            hz: HZ,
            release: "6.12".into(),
            reset_reasons,
            page_size: 4096,
            drop_reasons,
        }));
        bench.fact(&Fact::WalkDone { time: 1 });
        bench
    }

    /// Takes in a fact.
    pub fn fact(&mut self, fact: &Fact) {
        self.frame(&Frame::fact(fact.clone()));
    }

    /// Takes in the stack of [`reset`]'s resets.
    pub fn stack(&mut self, frames: &[&str]) {
        let frames = frames.iter().map(|&name| name.into()).collect();
        self.fact(&Fact::Stack { id: 7, frames });
    }

    /// Takes in the stack of [`dropped`]'s drops.
    pub fn place(&mut self, frames: &[&str]) {
        let frames = frames.iter().map(|&name| name.into()).collect();
        self.fact(&Fact::Stack { id: PLACE, frames });
    }

    /// Takes in a record.
    pub fn push(&mut self, record: &RecordBytes) {
        self.frame(&record.frame());
    }

    /// Takes in a frame.
    pub fn frame(&mut self, frame: &Frame) {
        self.0.apply(decode(frame).expect("an event"), &mut self.1);
    }

    /// The diagnoses since the last call.
    pub fn diagnoses(&mut self) -> Vec<Diagnosis> {
        self.0.settle(u64::MAX, &mut self.1);
        std::mem::take(&mut self.1.0)
    }

    /// The only diagnosis.
    pub fn only(&mut self) -> Diagnosis {
        let mut diagnoses = self.diagnoses();
        assert_eq!(diagnoses.len(), 1, "{diagnoses:#?}");
        diagnoses.remove(0)
    }

    /// Deaths counted.
    pub fn deaths(&self, cause: Cause) -> u64 {
        self.0.tracker().stats().deaths[cause as usize]
    }
}

/// A server's connection.
pub fn record(signal: u16, time: u64) -> RecordBytes {
    let mut record = RecordBytes::tcp(signal, time).socket(SK, 42).ends(SERVER, CLIENT);
    put!(record, netns.retries2, 15_u8);
    put!(record, netns.syn_retries, 6_u8);
    put!(record, netns.fin_timeout, 15_000_u32);
    put!(record, tcp.rto_max, 30_000_u32);
    put!(record, tcp.snd_wnd, 64_000_u32);
    put!(record, totals.resets_sent, 1_u32);
    record
}

/// A drop of a packet that the socket sent, for reason `number`, with the stack that [`Bench::place`] took in.
pub fn dropped(mut record: RecordBytes, number: u32) -> RecordBytes {
    put!(record, record.detail.packet_dropped.reason, number);
    put!(record, record.detail.packet_dropped.place, PLACE.cast_unsigned());
    put!(record, record.detail.packet_dropped.netns, 4_026_531_840_u32);
    put!(record, record.detail.packet_dropped.way, DROPPED_OUT);
    record
}

/// A reset on this side's initiative, with the stack that [`Bench::stack`] took in.
pub fn reset(time: u64, reason: i32) -> RecordBytes {
    let mut record = record(signal::RESET_SENT, time).reset(reason, true).state(CLOSE).flags(OWNED);
    put!(record, record.detail.reset_sent.stack, 7_i32);
    record.current(55, "child")
}

/// A change from `old` to CLOSE, with an errno.
pub fn closed(time: u64, old: u8, err: i32) -> RecordBytes {
    let mut record = record(signal::STATE_CHANGED, time).change(old, CLOSE);
    put!(record, tcp.err, err);
    record
}

/// A retransmission after the n-th timeout.
pub fn timeout(time: u64, stage: u8, rto: u32) -> RecordBytes {
    let mut record = record(signal::RETRANSMIT, time).retransmit(retransmit::TIMEOUT);
    silent(&mut record, stage);
    put!(record, tcp.rto, rto);
    record
}

/// `stage` timeouts with 1448 bytes in flight and 100 unsent.
pub fn silent(record: &mut RecordBytes, stage: u8) {
    put!(record, tcp.retransmits, stage);
    put!(record, tcp.snd_una, 1000_u32);
    put!(record, tcp.snd_nxt, 2448_u32);
    put!(record, tcp.write_seq, 2548_u32);
    put!(record, tcp.packets_out, 1_u32);
    let at = std::mem::offset_of!(TcpRecord, totals.segments) + 4 * usize::from(retransmit::TIMEOUT);
    record.put(at, &u32::from(stage).to_ne_bytes());
}

/// Somebody listens at [`SERVER`].
pub fn listen(backlog: u32) -> RecordBytes {
    let mut record = RecordBytes::tcp(signal::STATE_CHANGED, 2).socket(0x1000, 1).ends(SERVER, "0.0.0.0:0");
    put!(record, record.detail.state_changed.backlog, backlog);
    record.change(CLOSE, LISTEN).owner(100, "nginx", owner::LISTEN)
}
