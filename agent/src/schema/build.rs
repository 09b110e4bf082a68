//! From an observed event to its line.

use std::net::IpAddr;

use agent_correlate::listeners::Listening;
use agent_correlate::observed::Observed;
use agent_model::event::{Detail, KernelEvent, RetransmitKind, Segment, TcpState};
use agent_model::schema::VERSION;
use agent_model::words;
use agent_model::words::EventWord;
use jiff::Timestamp;

use super::tcp::{self, Jiffies};
use super::{
    Exit, IpVersion, Line, ListenerQueues, Memory, Outlook, Owner, PacketDrop, PlaceNames, Queue, Reset,
    Retransmit, Settings, StateChange, Tcp, Thread, Totals, Trigger,
};

/// `IPPROTO_TCP`
const TCP: u8 = 6;

impl Line {
    /// The line of `observed`, on a kernel whose jiffies are 1/`hz` s.
    pub fn new(observed: &Observed, hz: u32) -> Self {
        let event = &observed.event;
        let mut line = identity(observed);
        line.fill_detail(observed);
        if let Some(tcp) = &event.tcp {
            line.tcp = Some(Box::new(Tcp::new(tcp, Jiffies { hz })));
            line.settings = Some(Settings::new(tcp, Jiffies { hz }));
            line.totals = Some(Totals::new(&tcp.totals));
        }
        line
    }

    fn fill_detail(&mut self, observed: &Observed) {
        match &observed.event.detail {
            Detail::Retransmit { .. } => self.retransmit = retransmit(observed),
            Detail::SynackRetransmit { syn_queue, accept_queue, backlog, .. } => {
                self.retransmit = Some(synack(observed));
                let (syn_queue, accept_queue, backlog) = (Some(*syn_queue), *accept_queue, *backlog);
                self.listener = Some(ListenerQueues { syn_queue, accept_queue, backlog });
                let offset = observed.realtime.wrapping_sub(observed.event.time.cast_signed());
                self.outlook = observed.outlook.map(|outlook| Outlook::new(&outlook, offset));
            }
            Detail::ResetSent { reason, stack: _, trigger, exit } => {
                let exit = exit.map(Exit::from);
                self.reset = Some(Reset { exit, ..reset(observed, *reason, trigger.as_ref()) });
            }
            Detail::ResetReceived | Detail::SockDestroyed => (),
            Detail::BufLimitExceeded { direction, allocated, protocol, pressure, memory_cgroup } => {
                self.memory = Some(Memory {
                    direction: *direction,
                    protocol: protocol.to_string(),
                    allocated_pages: *allocated,
                    pressure: *pressure,
                    cgroup: *memory_cgroup,
                });
            }
            Detail::PacketDropped { reason, truesize, accept_queue, backlog } => {
                let name = observed.drop_reason.as_deref().map_or_else(|| reason.to_string(), str::to_owned);
                self.drop = Some(PacketDrop { reason: name, truesize: *truesize });
                let (accept_queue, backlog) = (*accept_queue, *backlog);
                let listens = observed.event.endpoint.request;
                self.listener = listens.then_some(ListenerQueues { syn_queue: None, accept_queue, backlog });
            }
            Detail::RcvqueueFull { truesize, rmem_alloc, rcvbuf } => {
                self.queue = Some(Queue { rmem_alloc: *rmem_alloc, rcvbuf: *rcvbuf, truesize: *truesize });
            }
            Detail::StateChanged { old, new, accept_queue, backlog } => {
                self.state_change = Some(state_change(&observed.event, *old, *new));
                self.listener = listener(*old, *new, *accept_queue, *backlog);
            }
        }
    }
}

fn identity(observed: &Observed) -> Line {
    let event = &observed.event;
    let endpoint = &event.endpoint;
    Line {
        v: VERSION,
        time: Timestamp::from_nanosecond(observed.realtime.into()).unwrap_or(Timestamp::UNIX_EPOCH),
        monotonic_ns: event.time,
        event: EventWord::of(&event.detail),
        stands_for: event.stands_for,
        connection: observed.connection.map(|id| id.to_string()),
        netns: endpoint.netns,
        cgroup: endpoint.cgroup,
        place: PlaceNames::new(&observed.place),
        family: family(endpoint.local.ip()),
        protocol: (endpoint.protocol != TCP).then_some(endpoint.protocol),
        local: endpoint.local.into(),
        remote: endpoint.remote.into(),
        state: endpoint.state,
        uid: endpoint.uid,
        process: observed.owner.as_ref().map(Owner::from),
        current: event.current.as_ref().map(Thread::from),
        retransmit: None,
        reset: None,
        state_change: None,
        memory: None,
        queue: None,
        drop: None,
        listener: None,
        outlook: None,
        tcp: None,
        settings: None,
        totals: None,
    }
}

fn family(address: IpAddr) -> IpVersion {
    match address {
        IpAddr::V4(_) => IpVersion::Ipv4,
        IpAddr::V6(_) => IpVersion::Ipv6,
    }
}

fn rto_ms(observed: &Observed) -> Option<u64> {
    observed.rto.map(|rto| u64::try_from(rto.as_millis()).unwrap_or(u64::MAX))
}

fn retransmit(observed: &Observed) -> Option<Retransmit> {
    let Detail::Retransmit { kind, err, segments, seq, end_seq, tcp_flags } = observed.event.detail else {
        return None;
    };
    Some(Retransmit {
        kind,
        stage: observed.stage,
        rto_ms: rto_ms(observed),
        err,
        segments,
        seq: Some(seq),
        end_seq: Some(end_seq),
        flags: Some(words::flags(tcp_flags)),
    })
}

/// The tracepoint tells of a SYN-ACK only once it was sent, and nothing of the segment.
fn synack(observed: &Observed) -> Retransmit {
    Retransmit {
        kind: RetransmitKind::Synack,
        stage: observed.stage,
        rto_ms: rto_ms(observed),
        err: 0,
        segments: 1,
        seq: None,
        end_seq: None,
        flags: None,
    }
}

fn reset(observed: &Observed, reason: Option<i32>, trigger: Option<&Segment>) -> Reset {
    let tcp = observed.event.tcp.as_ref();
    let number = || reason.map(|number| number.to_string());
    Reset {
        reason: observed.reset_reason.as_ref().map(ToString::to_string).or_else(number),
        active: trigger.is_none(),
        exit: None,
        listening: listening(&observed.listener),
        unread_bytes: tcp.map(agent_model::event::Tcp::unread_bytes),
        unsent_bytes: tcp.map(agent_model::event::Tcp::unsent_bytes),
        unacked_bytes: tcp.map(agent_model::event::Tcp::unacked_bytes),
        stack: observed.stack.iter().map(ToString::to_string).collect(),
        trigger: trigger.map(Trigger::from),
    }
}

fn listening(listener: &Listening) -> Option<bool> {
    match listener {
        Listening::Unknown => None,
        Listening::Nobody => Some(false),
        Listening::Somebody(_) => Some(true),
    }
}

fn state_change(event: &KernelEvent, old: TcpState, new: TcpState) -> StateChange {
    StateChange { old, new, error: event.tcp.as_ref().and_then(|tcp| tcp::error(tcp.raw.err)) }
}

/// The queues of any other socket mean nothing.
fn listener(old: TcpState, new: TcpState, accept_queue: u32, backlog: u32) -> Option<ListenerQueues> {
    let listens = old == TcpState::Listen || new == TcpState::Listen;
    listens.then_some(ListenerQueues { syn_queue: None, accept_queue, backlog })
}

impl From<&Segment> for Trigger {
    fn from(segment: &Segment) -> Self {
        let Segment { flags, seq, ack, len } = *segment;
        Self { flags: words::flags(flags), seq, ack, len }
    }
}

impl From<&agent_model::event::Owner> for Owner {
    fn from(owner: &agent_model::event::Owner) -> Self {
        let agent_model::event::Owner { process, source } = owner;
        Self { pid: process.pid, comm: process.comm.to_string(), source: *source }
    }
}

impl From<&agent_model::event::Thread> for Thread {
    fn from(thread: &agent_model::event::Thread) -> Self {
        let agent_model::event::Thread { process, tid } = thread;
        Self { pid: process.pid, tid: *tid, comm: process.comm.to_string() }
    }
}
