//! Hand-made segments through a raw socket, for what a correct TCP never sends.

use std::io::Read;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use crate::link::{Host, Loss};
use crate::netns::Netns;
use crate::wait;

/// TCP flags.
pub mod flags {
    /// Synchronise.
    pub const SYN: u8 = 2;
    /// Reset.
    pub const RST: u8 = 4;
    /// Acknowledge.
    pub const ACK: u8 = 16;
}

/// The parts of a segment that a scene chooses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// [`flags`].
    pub flags: u8,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// Payload.
    pub payload: Vec<u8>,
}

/// A stand-in for a TCP: it sends given segments from one address to another and sees the answers.
#[derive(Debug)]
pub struct Forger {
    socket: Socket,
    local: SocketAddr,
    remote: SocketAddr,
}

impl Forger {
    /// Speaks for `local` of `host`, whose own TCP may no longer reset what it does not know.
    pub fn new(host: &Host, local: SocketAddr, remote: SocketAddr) -> Self {
        host.refuse_outgoing(&Loss::resets());
        let domain = if local.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = host.run(|| Socket::new(domain, Type::RAW, Some(Protocol::TCP)).expect("raw socket"));
        socket.bind(&portless(local).into()).expect("bind a raw socket");
        socket.connect(&portless(remote).into()).expect("connect a raw socket");
        socket.set_read_timeout(Some(wait::PATIENCE)).expect("SO_RCVTIMEO");
        Self { socket, local, remote }
    }

    /// Sends packets in the name of `local`, whose host is another than that of `netns`: a router's, for one.
    pub fn in_the_name_of(netns: &Netns, local: SocketAddr, remote: SocketAddr) -> Self {
        assert!(local.is_ipv4(), "a raw socket writes whole packets of IPv4 alone");
        let whole = Protocol::from(libc::IPPROTO_RAW);
        let socket = netns.run(|| Socket::new(Domain::IPV4, Type::RAW, Some(whole)).expect("raw socket"));
        Self { socket, local, remote }
    }

    /// Sends a segment with an IP header of its own, which the kernel completes.
    pub fn send_whole(&self, segment: &Segment, ttl: u8) {
        let segment = self.encode(segment);
        let length = u16::try_from(20 + segment.len()).expect("a short segment").to_be_bytes();
        let tcp = libc::IPPROTO_TCP as u8;
        let mut packet = vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, ttl, tcp, 0, 0];
        packet.extend(octets(self.local.ip()));
        packet.extend(octets(self.remote.ip()));
        packet.extend(segment);
        self.socket.send_to(&packet, &portless(self.remote).into()).expect("send a hand-made packet");
    }

    /// Sends a segment.
    pub fn send(&self, segment: &Segment) {
        let bytes = self.encode(segment);
        let sent = self.socket.send(&bytes).expect("send a hand-made segment");
        assert_eq!(sent, bytes.len(), "sent in part");
    }

    /// Waits for a segment with exactly these flags and returns it.
    pub fn receive(&self, flags: u8) -> Segment {
        let mut buffer = [0; 2048];
        loop {
            let length = (&self.socket).read(&mut buffer).expect("an answer to a hand-made segment");
            match self.decode(&buffer[..length]) {
                Some(segment) if segment.flags == flags => return segment,
                _ => {}
            }
        }
    }

    fn encode(&self, segment: &Segment) -> Vec<u8> {
        let words = 5 + segment.options.len() / 4;
        let mut bytes = Vec::new();
        bytes.extend(self.local.port().to_be_bytes());
        bytes.extend(self.remote.port().to_be_bytes());
        bytes.extend(segment.seq.to_be_bytes());
        bytes.extend(segment.ack.to_be_bytes());
        bytes.extend([(words as u8) << 4, segment.flags]);
        bytes.extend(u16::MAX.to_be_bytes()); // window
        bytes.extend([0; 4]); // checksum, urgent pointer
        bytes.extend(&segment.options);
        bytes.extend(&segment.payload);
        let sum = self.checksum(&bytes);
        bytes[16..18].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// RFC 9293 §3.1: over the addresses, the protocol, the length and the segment. The pseudo headers
    /// of both families add up alike.
    fn checksum(&self, segment: &[u8]) -> u16 {
        let mut bytes = octets(self.local.ip());
        bytes.extend(octets(self.remote.ip()));
        bytes.extend((segment.len() as u32).to_be_bytes());
        bytes.extend([0, libc::IPPROTO_TCP as u8]);
        bytes.extend(segment);
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let sum: u32 = words.sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        !((sum & 0xffff) + (sum >> 16)) as u16
    }

    /// A raw socket gives IPv4 packets with their header, IPv6 ones without.
    fn decode(&self, packet: &[u8]) -> Option<Segment> {
        let skip = if self.local.is_ipv4() { usize::from(packet[0] & 0xf) * 4 } else { 0 };
        let bytes = packet.get(skip..)?;
        let header = usize::from(*bytes.get(12)? >> 4) * 4;
        let ports = [self.remote.port().to_be_bytes(), self.local.port().to_be_bytes()].concat();
        bytes.starts_with(&ports).then(|| Segment {
            flags: bytes[13],
            seq: u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
            ack: u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
            options: bytes[20..header].to_vec(),
            payload: bytes[header..].to_vec(),
        })
    }
}

fn portless(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), 0)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
