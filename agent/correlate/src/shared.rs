//! A name for a connection that both of its hosts compute by themselves, whatever their clocks say.
//!
//! It is made of the two initial sequence numbers. Such a number is a reading of its host's clock plus a hash of the
//! two ends (RFC 9293 §3.4.1; `secure_tcp_seq`), so the pair identifies the ends and the start, and each host learns
//! the other's number in the handshake. Translating an address (for a Service) does not change it. The socket keeps
//! neither number; they follow from its counters.

use std::fmt;
use std::num::NonZero;
use std::str::FromStr;

use agent_common::record::Tcp;
use agent_model::event::{Detail, KernelEvent, TcpState};
use agent_model::signals::ResetSent;
use ring::digest::{SHA256, digest};

/// `SEND_SHUTDOWN` of `sk_shutdown`: a FIN was sent, is queued, or never will be.
const SEND_SHUTDOWN: u8 = 2;

/// First bytes of both directions, the lesser one first. 8 bytes: there are 50,000 connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Initials(NonZero<u64>);

/// The name of the connection on both hosts: a digest, so that no sequence number is disclosed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedId(u64);

/// How a socket came to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Began {
    /// It called `connect()`.
    Connected,
    /// A listener made it.
    Accepted,
}

impl Initials {
    /// Of the socket that an event shows; `None` before the handshake, and where its counters leave it open.
    pub(super) fn of(event: &KernelEvent, began: Option<Began>) -> Option<Self> {
        // A burial may show a socket that `tcp_disconnect` has emptied; a drop, one that others work on.
        let shows = !matches!(event.detail, Detail::SockDestroyed(_) | Detail::PacketDropped(_));
        let tcp = event.tcp.as_ref().filter(|_| shows)?;
        let answers = matches!(event.detail, Detail::ResetSent(ResetSent { trigger: Some(_), .. }));
        let state = event.state_before().filter(|state| *state != TcpState::SynSent)?;
        Self::from_counters(&tcp.raw, began, has_sent_fin(&tcp.raw, state, answers))
    }

    fn from_counters(tcp: &Tcp, began: Option<Began>, fin: Option<bool>) -> Option<Self> {
        let sent = first_sent(tcp, began, fin).filter(|_| tcp.rcv_nxt != 0)?;
        // A FIN counts as received, the SYN does not (`tcp_rcv_nxt_update`).
        let received = tcp.rcv_nxt.wrapping_sub(tcp.bytes_received as u32);
        let pair = u64::from(sent.min(received)) << 32 | u64::from(sent.max(received));
        NonZero::new(pair).map(Self)
    }

    /// The name for lines and answers.
    pub fn id(self) -> SharedId {
        let digest = digest(&SHA256, &self.0.get().to_be_bytes());
        let first = digest.as_ref().first_chunk::<8>().copied();
        SharedId(u64::from_be_bytes(first.unwrap_or_default()))
    }
}

/// Sequence number of the first byte sent. There are two ways to compute it, and each may be off by one:
/// `snd_una - bytes_acked` counts the SYN as acknowledged at the end that connected, and not at the other;
/// `snd_nxt` less the payload that was sent for the first time counts the FIN, if one was sent.
fn first_sent(tcp: &Tcp, began: Option<Began>, fin: Option<bool>) -> Option<u32> {
    let payload = tcp.bytes_sent.wrapping_sub(tcp.bytes_retrans);
    let by_acks = tcp.snd_una.wrapping_sub(tcp.bytes_acked as u32);
    let by_sends = tcp.snd_nxt.wrapping_sub(payload as u32);
    let counts_syn = match by_sends.wrapping_sub(by_acks) {
        0 => false,
        // Either the SYN or the FIN.
        1 => match began {
            Some(Began::Connected) => true,
            Some(Began::Accepted) => false,
            None => !fin?,
        },
        2 => true,
        // They were read while another CPU changed the socket.
        _ => return None,
    };
    Some(by_acks.wrapping_add(counts_syn.into()))
}

/// `state` is the one before the event, in which the numbers were read. `close()` sets CLOSE where it aborts, the
/// segment that is answered with a reset where it comes after the FIN.
fn has_sent_fin(tcp: &Tcp, state: TcpState, answers: bool) -> Option<bool> {
    let all_is_sent = tcp.snd_nxt == tcp.write_seq;
    match state {
        TcpState::Established | TcpState::SynRecv | TcpState::CloseWait => Some(false),
        TcpState::FinWait1 | TcpState::FinWait2 | TcpState::Closing | TcpState::LastAck => Some(all_is_sent),
        TcpState::Close if answers => Some(all_is_sent),
        TcpState::Close if tcp.shutdown & SEND_SHUTDOWN == 0 => Some(false),
        TcpState::Close
        | TcpState::SynSent
        | TcpState::TimeWait
        | TcpState::Listen
        | TcpState::NewSynRecv => None,
    }
}

impl fmt::Display for SharedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for SharedId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

#[cfg(any(test, feature = "fixture"))]
impl From<NonZero<u64>> for Initials {
    fn from(pair: NonZero<u64>) -> Self {
        Self(pair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Initial sequence numbers of who connected, and of who accepted: near the end of their range.
    const CLIENT: u32 = u32::MAX - 1;
    const SERVER: u32 = 77;

    /// An end after it sent `sent` bytes, of which `acked` arrived, and `fin` was sent or not.
    fn end(own: u32, other: u32, connected: bool, sent: u32, acked: u32, fin: bool) -> Tcp {
        let first = own.wrapping_add(1);
        let snd_nxt = first.wrapping_add(sent + u32::from(fin));
        Tcp {
            snd_una: first.wrapping_add(acked),
            bytes_acked: u64::from(acked) + u64::from(connected),
            snd_nxt,
            write_seq: snd_nxt,
            bytes_sent: u64::from(sent) + 100,
            bytes_retrans: 100,
            rcv_nxt: other.wrapping_add(1).wrapping_add(5),
            bytes_received: 5,
            shutdown: if fin { SEND_SHUTDOWN } else { 0 },
            ..Tcp::default()
        }
    }

    fn name(tcp: &Tcp, state: TcpState, began: Option<Began>) -> Option<SharedId> {
        Initials::from_counters(tcp, began, has_sent_fin(tcp, state, false)).map(Initials::id)
    }

    #[test]
    fn both_ends_arrive_at_the_same_name_in_every_state() {
        let known = name(&end(CLIENT, SERVER, true, 0, 0, false), TcpState::Established, None);
        assert!(known.is_some());
        for (sent, acked, fin, state) in [
            (0, 0, false, TcpState::SynRecv),
            (4000, 1448, false, TcpState::Established),
            (4000, 4000, true, TcpState::FinWait2),
            (10, 0, true, TcpState::FinWait1),
            (0, 0, true, TcpState::LastAck),
            (7, 7, false, TcpState::CloseWait),
            (7, 7, false, TcpState::Close),
        ] {
            let client = end(CLIENT, SERVER, true, sent, acked, fin);
            let server = end(SERVER, CLIENT, false, sent, acked, fin);
            assert_eq!(name(&client, state, None), known, "client in {state:?}");
            assert_eq!(name(&server, state, None), known, "server in {state:?}");
        }
        let text = known.unwrap().to_string();
        assert_eq!((text.len(), text.parse().ok()), (16, known));
    }

    #[test]
    fn another_life_of_the_same_ends_has_another_name() {
        let life = |server| name(&end(1, server, true, 0, 0, false), TcpState::Established, None);
        assert_ne!(life(2), life(3));
    }

    #[test]
    fn what_cannot_be_known_is_absent() {
        let torn = Tcp { bytes_acked: 500, ..end(1, 2, true, 9, 0, false) };
        assert_eq!(name(&torn, TcpState::Established, None), None);
        let refused = Tcp { snd_nxt: 5, snd_una: 4, write_seq: 5, ..Tcp::default() };
        assert_eq!(name(&refused, TcpState::Close, Some(Began::Connected)), None);
    }

    /// With unread data it aborts, and sends no FIN; the numbers are those of an accepted end that sent one.
    #[test]
    fn of_a_closed_end_it_takes_to_know_how_it_began() {
        let aborted = Tcp { shutdown: SEND_SHUTDOWN, ..end(CLIENT, SERVER, true, 9, 9, false) };
        let finished = end(SERVER, CLIENT, false, 9, 9, true);
        assert_eq!(name(&aborted, TcpState::Close, None), None);
        assert_eq!(name(&finished, TcpState::Close, None), None);
        let known = name(&aborted, TcpState::Close, Some(Began::Connected));
        assert!(known.is_some());
        assert_eq!(name(&finished, TcpState::Close, Some(Began::Accepted)), known);
        let answers =
            Initials::from_counters(&finished, None, has_sent_fin(&finished, TcpState::Close, true));
        assert_eq!(answers.map(Initials::id), known);
    }
}
