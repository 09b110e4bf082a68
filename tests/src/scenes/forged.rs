//! Resets in answer to segments that a correct TCP never sends.

use std::net::{SocketAddr, TcpListener};

use crate::link::{Family, Host, Pair};
use crate::raw::{Forger, Segment, flags};
use crate::scenes::reset::Reset;
use crate::snmp::Meter;
use crate::tcp::{self, Side};

/// Port that the forger speaks for.
const FORGED_PORT: u16 = 4242;

/// An acknowledgement reaches a listener (`tcp_rcv_state_process` in LISTEN): a peer that believes in a
/// connection which the server knows nothing of.
pub fn ack_to_listener(pair: &Pair, family: Family) -> Reset {
    let listener = tcp::listen(&pair.server, family, 8);
    let forger = forge(pair, &listener);
    let meter = Meter::new(&pair.server);
    forger.send(&Segment { flags: flags::ACK, seq: 1000, ack: 2000, ..Segment::default() });
    forger.receive(flags::RST);
    reset(pair, "TCP_FLAGS", tcp::local_address(&listener), &meter)
}

/// A second SYN inside the window of a half-open connection (`tcp_check_req`).
pub fn syn_in_window(pair: &Pair, family: Family) -> Reset {
    let listener = tcp::listen(&pair.server, family, 8);
    let forger = forge(pair, &listener);
    let meter = Meter::new(&pair.server);
    forger.send(&Segment { flags: flags::SYN, seq: 1000, ..Segment::default() });
    forger.receive(flags::SYN | flags::ACK);
    forger.send(&Segment { flags: flags::SYN, seq: 1100, ..Segment::default() });
    forger.receive(flags::RST | flags::ACK);
    reset(pair, "INVALID_SYN", tcp::local_address(&listener), &meter)
}

/// What a forged peer acknowledges of a connection that opens from both sides at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledged {
    /// A byte before the first: as none was acknowledged yet, any is too old (`tcp_ack`).
    TooOld,
    /// A byte never sent.
    Unsent,
}

impl Acknowledged {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::TooOld, Self::Unsent];

    fn of(self, first: u32) -> (u32, &'static str) {
        match self {
            Self::TooOld => (first.wrapping_sub(1 << 20), "TCP_TOO_OLD_ACK"),
            Self::Unsent => (first.wrapping_add(1 << 20), "TCP_ACK_UNSENT_DATA"),
        }
    }
}

/// The server's own `connect()` meets a SYN (simultaneous open, `tcp_rcv_synsent_state_process`), then a
/// wrong acknowledgement in `SYN_RECV`.
pub fn ack_in_syn_recv(pair: &Pair, family: Family, acknowledged: Acknowledged) -> Reset {
    let peer = pair.client.socket_address(family, FORGED_PORT);
    let meter = Meter::new(&pair.server);
    let (forger, _connecting, side) = connecting(&pair.client, &pair.server, peer);
    let first = forger.receive(flags::SYN).seq;
    forger.send(&Segment { flags: flags::SYN, seq: 1000, ..Segment::default() });
    forger.receive(flags::SYN | flags::ACK);
    let (ack, reason) = acknowledged.of(first);
    forger.send(&Segment { flags: flags::ACK, seq: 1001, ack, ..Segment::default() });
    forger.receive(flags::RST);
    reset(pair, reason, side.local, &meter)
}

/// An acknowledgement of nothing that was sent answers the server's SYN
/// (`tcp_rcv_synsent_state_process`): a half-open peer, an old duplicate, a broken NAT.
pub fn ack_in_syn_sent(pair: &Pair, family: Family) -> Reset {
    let peer = pair.client.socket_address(family, FORGED_PORT);
    let meter = Meter::new(&pair.server);
    let (forger, _connecting, side) = connecting(&pair.client, &pair.server, peer);
    let first = forger.receive(flags::SYN).seq;
    forger.send(&Segment {
        flags: flags::ACK,
        seq: 1000,
        ack: first.wrapping_sub(1000),
        ..Segment::default()
    });
    forger.receive(flags::RST);
    reset(pair, "TCP_INVALID_ACK_SEQUENCE", side.local, &meter)
}

/// The answer to the server's SYN echoes a timestamp from the future (`tcp_rcv_synsent_state_process`,
/// MIB `PAWSActive`).
pub fn timestamp_in_syn_sent(pair: &Pair, family: Family) -> Reset {
    let peer = pair.client.socket_address(family, FORGED_PORT);
    let meter = Meter::new(&pair.server);
    let (forger, _connecting, side) = connecting(&pair.client, &pair.server, peer);
    let syn = forger.receive(flags::SYN);
    let echoed = timestamp(&syn.options).wrapping_add(1 << 30);
    let options = [&[1, 1, 8, 10, 0, 0, 0, 1][..], &echoed.to_be_bytes()].concat();
    let ack = syn.seq.wrapping_add(1);
    forger.send(&Segment { flags: flags::SYN | flags::ACK, seq: 1000, ack, options, ..Segment::default() });
    forger.receive(flags::RST);
    reset(pair, "TCP_RFC7323_PAWS", side.local, &meter)
}

fn forge(pair: &Pair, listener: &TcpListener) -> Forger {
    let to = tcp::local_address(listener);
    Forger::new(&pair.client, pair.client.socket_address(Family::of(to), FORGED_PORT), to)
}

/// The server connects to the forger, whose host's TCP is not to see the SYN.
fn connecting(client: &Host, server: &Host, peer: SocketAddr) -> (Forger, std::net::TcpStream, Side) {
    let socket = tcp::bound(server, Family::of(peer));
    let forger = Forger::new(client, peer, tcp::bound_address(&socket));
    let (stream, side) = tcp::start(server, socket, peer);
    (forger, stream, side)
}

fn reset(pair: &Pair, reason: &'static str, local: SocketAddr, meter: &Meter) -> Reset {
    let remote = pair.client.socket_address(Family::of(local), FORGED_PORT);
    let sender = Side { netns: pair.server.inode(), local, remote };
    let (snmp, held) = (meter.read(), Vec::new());
    Reset { sender, reason, active: false, unread: 0, receiver: None, errno: None, snmp, held }
}

/// `TSval` of the option (kind 8, length 10).
fn timestamp(options: &[u8]) -> u32 {
    let at = options.windows(2).position(|window| window == [8, 10]).expect("a timestamp option");
    u32::from_be_bytes(options[at + 2..at + 6].try_into().expect("four bytes"))
}
