//! This host dropped a packet of TCP: on its way out, in or through, or because a socket had no room.

use agent_common::record::{self, DROPPED_IN, DROPPED_OUT, HAS_SEGMENT};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::{Describe, Kept, Known, ListenerQueues, Mark, Reason, Recorded, Sections, Signal, Way, narrow};
use crate::decode::DecodeError;
use crate::drops::{self, Class};
use crate::event::{HostFacts, KernelEvent, TcpFlags};

/// `kfree_skb`, of a packet of TCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketDropped {
    /// Number of the kernel's reason, named by [`HostFacts::drop_reasons`].
    pub reason: u32,
    /// Kernel memory of the packet, bytes.
    pub truesize: u32,
    /// Connections waiting for accept, of a listener.
    pub accept_queue: u32,
    /// Limit of the accept queue, of a listener.
    pub backlog: u32,
    /// Id of the kernel stack, told before by [`Fact::Stack`](crate::event::Fact::Stack).
    pub place: Option<i32>,
    /// Inode of the network namespace of the device that it was at.
    pub netns: Option<u32>,
    /// Index of that device.
    pub ifindex: Option<u32>,
    /// What its TCP header says.
    pub segment: Option<Packet>,
    /// Time to live, or hop limit; `None` before it had an IP header.
    pub ttl: Option<u8>,
    /// `skb->mark`; 0 is none.
    pub mark: u32,
    /// What its socket had to do with it; `None` if the record has no socket.
    pub role: Option<Role>,
}

/// What a packet's TCP header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Sequence number.
    pub seq: u32,
    /// Bytes of payload.
    pub len: u16,
    /// Flags.
    pub flags: TcpFlags,
}

/// What a socket has to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// It sent it.
    Sender,
    /// It was to receive it.
    Receiver,
}

/// Which way a packet was going.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Out of the network namespace of its sender.
    Out,
    /// Into the network namespace of its receiver.
    In,
    /// Through another network namespace.
    Transit,
}

/// In a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Number of the kernel's reason.
    pub reason: u16,
    /// Id of the kernel stack.
    pub place: Option<u16>,
    /// Network namespace where it died.
    pub netns: Option<u32>,
    /// Device that it was at.
    pub ifindex: Option<u32>,
    /// Whether the connection's own socket had sent it; `None` where only its ends are known.
    pub role: Option<Role>,
}

/// In a line.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PacketDrop")]
pub struct Section {
    /// The kernel's reason without its prefix; its number where the kernel does not name it.
    pub reason: String,
    /// Kernel memory of the packet, bytes.
    pub truesize: u32,
    /// Which way it was going.
    pub direction: Option<Direction>,
    /// The kernel function that dropped it.
    pub function: Option<Box<str>>,
    /// The hook of netfilter at which it was dropped.
    pub hook: Option<String>,
    /// Inode of the network namespace where it was dropped.
    pub netns: Option<u32>,
    /// Index of the device that it was at, in that namespace.
    pub ifindex: Option<u32>,
    /// Its sequence number.
    pub seq: Option<u32>,
    /// Its bytes of payload.
    pub len: Option<u16>,
    /// Its TCP flags.
    pub flags: Option<TcpFlags>,
    /// Its time to live, or hop limit.
    pub ttl: Option<u8>,
    /// Its mark (`SO_MARK`, netfilter), if it has one.
    pub mark: Option<u32>,
}

impl Recorded for PacketDropped {
    type Record = record::PacketDropped;
    type Kept = Dropped;
    const MARK: Mark = Mark::Shortage;
    const WAY: Way = Way::In;

    fn decode(raw: Self::Record, _: &record::Header) -> Result<Self, DecodeError> {
        let record::PacketDropped {
            reason,
            truesize,
            accept_queue,
            backlog,
            place,
            netns,
            ifindex,
            seq,
            mark,
            len,
            tcp_flags,
            ttl,
            way,
            flags,
            reserved: _,
        } = raw;
        let there = |number: u32| (number != 0).then_some(number);
        Ok(Self {
            reason,
            truesize,
            accept_queue,
            backlog,
            place: there(place).map(u32::cast_signed),
            netns: there(netns),
            ifindex: there(ifindex),
            segment: (flags & HAS_SEGMENT != 0).then_some(Packet { seq, len, flags: TcpFlags(tcp_flags) }),
            ttl: (ttl != 0).then_some(ttl),
            mark,
            role: match way {
                DROPPED_OUT => Some(Role::Sender),
                DROPPED_IN => Some(Role::Receiver),
                _ => None,
            },
        })
    }

    fn keep(&self, _: &KernelEvent, _: Option<u32>) -> Dropped {
        let Self { reason, place, netns, ifindex, role, .. } = *self;
        let place = place.and_then(|place| place.try_into().ok());
        Dropped { reason: narrow(reason, u16::MAX), place, netns, ifindex, role }
    }
}

impl PacketDropped {
    /// What its reason means.
    pub fn class(&self, host: &HostFacts) -> Class {
        let name = i32::try_from(self.reason).ok().and_then(|reason| host.drop_reasons.get(&reason));
        name.map_or(Class::Other, |name| drops::class(name))
    }

    /// Which way it went: `home` is the network namespace of its socket, `hook` where netfilter had it.
    fn direction(&self, home: u32, hook: Option<&str>) -> Option<Direction> {
        let elsewhere = self.netns.is_some_and(|netns| netns != home);
        match (self.role, hook) {
            (Some(Role::Sender), _) if elsewhere => Some(Direction::Transit),
            (Some(Role::Receiver), _) | (None, Some("INPUT")) => Some(Direction::In),
            (Some(Role::Sender), _) | (None, Some("OUTPUT")) => Some(Direction::Out),
            (None, Some("FORWARD")) => Some(Direction::Transit),
            (None, _) => None,
        }
    }
}

impl Signal for PacketDropped {
    fn reason(&self) -> Option<Reason> {
        Some(Reason::Drop(self.reason))
    }

    /// The queues of any other socket than a listener mean nothing.
    fn sections(&self, known: &Known<'_>) -> Sections {
        let Self {
            reason,
            truesize,
            accept_queue,
            backlog,
            place: _,
            netns,
            ifindex,
            segment,
            ttl,
            mark,
            role,
        } = *self;
        let (endpoint, hook) = (&known.event.endpoint, drops::netfilter_hook(known.stack));
        let listens = endpoint.request && role != Some(Role::Sender);
        let section = Section {
            reason: known.reason_or(reason),
            truesize,
            direction: self.direction(endpoint.netns, hook),
            function: drops::place(known.stack).map(Into::into),
            hook: hook.map(str::to_owned),
            netns,
            ifindex,
            seq: segment.map(|segment| segment.seq),
            len: segment.map(|segment| segment.len),
            flags: segment.map(|segment| segment.flags),
            ttl,
            mark: (mark != 0).then_some(mark),
        };
        Sections {
            drop: Some(section),
            listener: listens.then_some(ListenerQueues { syn_queue: None, accept_queue, backlog }),
            ..Sections::default()
        }
    }
}

impl Dropped {
    /// What its reason means.
    pub fn class(&self, host: &HostFacts) -> Class {
        host.drop_reasons.get(&i32::from(self.reason)).map_or(Class::Other, |name| drops::class(name))
    }
}

impl Kept for Dropped {
    fn joined_by(&self, next: &Self) -> Option<Self> {
        let unplaced = Self { place: None, ..*self } == Self { place: None, ..*next };
        let is_same = unplaced && (self.place == next.place || next.place.is_none());
        is_same.then_some(*self)
    }
}

impl Describe for Dropped {
    fn text(&self, host: &HostFacts) -> String {
        let name = host.drop_reasons.get(&i32::from(self.reason));
        let name = name.map_or("no reason told", |name| name);
        let at = self.netns.map(|netns| format!(", in network namespace {netns}")).unwrap_or_default();
        match self.class(host) {
            Class::Shortage => format!("segment dropped: {name}"),
            Class::Netfilter
            | Class::Route
            | Class::Neighbour
            | Class::Queue
            | Class::ReversePath
            | Class::Checksum
            | Class::Bpf
            | Class::Noise
            | Class::Other => format!("packet dropped on this host: {name}{at}"),
        }
    }
}
