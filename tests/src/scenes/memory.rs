//! Sockets that the kernel refuses memory.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::cgroup::LimitedCgroup;
use crate::link::{Family, Host, Pair};
use crate::scenes::accept_queue::FullAcceptQueue;
use crate::scenes::retransmit::{self, Resent};
use crate::snmp::Meter;
use crate::tcp::{self, Connection, Side};
use crate::wait;

/// An unread socket whose queue overflowed.
#[derive(Debug)]
pub struct QueueFull {
    /// The socket's side; the ports are the echo identifier and 0.
    pub side: Side,
    /// Packets that did not fit.
    pub refused: u64,
    /// `SO_RCVBUF`.
    pub rcvbuf: u64,
}

/// Ten echo requests through an unread ping socket with the smallest buffer (`__sock_queue_rcv_skb`,
/// which neither TCP nor UDP use).
pub fn rcvqueue_full(pair: &Pair, family: Family) -> QueueFull {
    let host = &pair.client;
    host.sysctl("ipv4.ping_group_range", "0 0");
    let socket = ping_socket(host, pair.server.socket_address(family, 0));
    socket.set_recv_buffer_size(0).expect("SO_RCVBUF");
    let meter = Meter::new(host);
    let (request, replies) = echo(family);
    for _ in 0..10 {
        assert_eq!(socket.send(&request).expect("send an echo request"), request.len());
    }
    meter.reach(replies, 10);
    let rcvbuf = socket.recv_buffer_size().expect("SO_RCVBUF") as u64;
    let local = tcp::bound_address(&socket);
    let remote = pair.server.socket_address(family, 0);
    QueueFull { side: Side { netns: host.inode(), local, remote }, refused: 10 - packets(&socket), rcvbuf }
}

fn ping_socket(host: &Host, to: SocketAddr) -> Socket {
    let (domain, protocol) = match Family::of(to) {
        Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
        Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = host.run(|| Socket::new(domain, Type::DGRAM, Some(protocol)).expect("ping socket"));
    socket.bind(&host.socket_address(Family::of(to), 0).into()).expect("bind a ping socket");
    socket.connect(&to.into()).expect("connect a ping socket");
    socket
}

/// An echo request of a size that fills the smallest buffer, and the counter of its replies.
fn echo(family: Family) -> (Vec<u8>, &'static str) {
    let (kind, replies) = match family {
        Family::V4 => (8, "IcmpInEchoReps"),
        Family::V6 => (128, "Icmp6InEchoReplies"),
    };
    let mut request = vec![0; 1200];
    request[0] = kind;
    (request, replies)
}

fn packets(mut socket: &Socket) -> u64 {
    socket.set_nonblocking(true).expect("O_NONBLOCK");
    let mut buffer = [0; 2048];
    let mut count = 0;
    loop {
        match socket.read(&mut buffer) {
            Ok(_) => count += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return count,
            Err(error) => panic!("read a ping socket: {error}"),
        }
    }
}

/// Bytes that the sockets of a limited cgroup may use.
pub const LIMIT: u64 = 256 << 10;

/// A socket buffer far beyond it, set by the application, so that only the cgroup stands in the way:
/// otherwise the kernel shrinks the buffer and charges regardless.
const BUFFER: usize = 2 << 20;

/// A sender in a memory cgroup that refuses its socket more (`__sk_mem_raise_allocated`, `SK_MEM_SEND`);
/// the reason if this kernel has no such cgroup.
pub fn send_refused(pair: &Pair, family: Family) -> Result<(Connection, LimitedCgroup), String> {
    let cgroup = LimitedCgroup::with_tcp_limit(LIMIT)?;
    let listener = tcp::listen(&pair.server, family, 8);
    let to = tcp::local_address(&listener);
    let client = pair.client.run(|| {
        cgroup.enter();
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP)).expect("socket");
        socket.set_send_buffer_size(BUFFER).expect("SO_SNDBUF");
        socket.connect(&to.into()).expect("connect");
        TcpStream::from(socket)
    });
    let connection = Connection::accepted(pair, listener, client);
    assert!(tcp::fill(&connection.client) < BUFFER, "the cgroup's limit did not stop the sender");
    Ok((connection, cgroup))
}

/// The same at a receiver that does not read (`SK_MEM_RECV)`: what arrives is dropped
/// (`tcp_try_rmem_schedule`).
pub fn receive_refused(pair: &Pair, family: Family) -> Result<Connection, String> {
    let cgroup = LimitedCgroup::with_tcp_limit(LIMIT)?;
    let listener = tcp::listen(&pair.server, family, 8);
    SockRef::from(&listener).set_recv_buffer_size(BUFFER).expect("SO_RCVBUF");
    let client = tcp::connect(&pair.client, tcp::local_address(&listener));
    let connection = pair.server.run(|| {
        // An accepted socket is charged to whoever accepts it (`inet_csk_accept`).
        cgroup.enter();
        Connection::accepted(pair, listener, client)
    });
    let meter = Meter::new(&pair.server);
    tcp::nonblocking(&connection.client);
    wait::until("the receiver to drop what it has no memory for", || {
        let _ = (&connection.client).write(&[b'x'; 16 * 1024]);
        meter.get("TcpExtTCPRcvQDrop") > 0
    });
    Ok(connection)
}

/// A receiver with the smallest buffer that does not read.
#[derive(Debug)]
pub struct Unread {
    /// The connection; the server has to read `sent` bytes.
    pub connection: Connection,
    /// Bytes that the client wrote.
    pub sent: usize,
    /// Segments that did not fit (`TCPRcvQDrop`).
    pub dropped: u64,
}

/// A client that writes byte by byte: each takes hundreds of bytes of the receiver's buffer, which is full
/// long before its window is shut (`tcp_try_rmem_schedule`).
pub fn receive_buffer_full(pair: &Pair, family: Family) -> Unread {
    let listener = tcp::listen(&pair.server, family, 8);
    SockRef::from(&listener).set_recv_buffer_size(0).expect("SO_RCVBUF");
    let client = tcp::connect(&pair.client, tcp::local_address(&listener));
    client.set_nodelay(true).expect("TCP_NODELAY");
    let connection = Connection::accepted(pair, listener, client);
    let meter = Meter::new(&pair.server);
    tcp::nonblocking(&connection.client);
    let mut sent = 0;
    wait::until("the receiver to drop what does not fit", || {
        sent += (&connection.client).write(b"x").unwrap_or(0);
        meter.get("TcpExtTCPRcvQDrop") > 0
    });
    Unread { connection, sent, dropped: meter.get("TcpExtTCPRcvQDrop") }
}

/// SO_SNDBUF of [`send_buffer_full`], of which the kernel makes twice as much.
const SMALL: usize = 16 << 10;

/// A writer with a small buffer on a slow path: what it writes waits in its buffer though the peer's window is
/// open. It had one timeout before, which the agent remembers it by.
pub fn send_buffer_full(pair: &Pair, family: Family) -> Resent {
    let resent = retransmit::timeouts(pair, family, 1);
    SockRef::from(&resent.socket).set_send_buffer_size(SMALL).expect("SO_SNDBUF");
    pair.client.slow(16, 60_000);
    tcp::fill(&resent.socket);
    resent
}

/// The side of a client whose handshake ends at a full accept queue, and what was held for it; the last ACK
/// is dropped (`tcp_check_req`), once at least.
pub fn accept_queue_full(pair: &Pair, family: Family) -> (Side, Vec<OwnedFd>) {
    let FullAcceptQueue { meter, overflows, side, mut held } = FullAcceptQueue::new(pair, family);
    tcp::send(&overflows, 1);
    meter.reach("TcpExtListenOverflows", 1);
    held.push(overflows.into());
    (side.reversed(&pair.server), held)
}
