//! TCP sockets with the options that std lacks.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, SockRef, Socket, TcpKeepalive, Type};

use crate::link::{Family, Host, Pair};
use crate::netns::Netns;
use crate::wait;

/// One side of a connection, or of an attempt: what every event of it must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// Inode of the network namespace.
    pub netns: u64,
    /// Its own address.
    pub local: SocketAddr,
    /// The other's.
    pub remote: SocketAddr,
}

impl Side {
    /// Of a connected stream inside `netns`.
    pub fn of(netns: &Netns, stream: &TcpStream) -> Self {
        let local = stream.local_addr().expect("local address");
        Self { netns: netns.inode(), local, remote: stream.peer_addr().expect("remote address") }
    }

    /// The same connection seen from `netns` at its other end.
    #[must_use]
    pub fn reversed(self, netns: &Netns) -> Self {
        Self { netns: netns.inode(), local: self.remote, remote: self.local }
    }

    /// The family of its addresses.
    pub fn family(self) -> Family {
        Family::of(self.local)
    }
}

/// An established connection between the hosts of a pair, both ends held by this process.
#[derive(Debug)]
pub struct Connection {
    /// The end that connected.
    pub client: TcpStream,
    /// The end that accepted.
    pub server: TcpStream,
    /// Where it did; it goes on listening, as servers do.
    pub listener: TcpListener,
    /// As the client's kernel sees it.
    pub client_side: Side,
    /// As the server's kernel sees it.
    pub server_side: Side,
}

impl Connection {
    /// Connects a client to a server.
    pub fn open(pair: &Pair, family: Family) -> Self {
        let listener = listen(&pair.server, family, 128);
        let client = connect(&pair.client, local_address(&listener));
        Self::accepted(pair, listener, client)
    }

    /// Accepts the connection of `client`.
    pub fn accepted(pair: &Pair, listener: TcpListener, client: TcpStream) -> Self {
        let (server, _) = listener.accept().expect("accept");
        let client_side = Side::of(&pair.client, &client);
        let server_side = Side::of(&pair.server, &server);
        Self { client, server, listener, client_side, server_side }
    }
}

/// Listens on a free port of the host.
pub fn listen(host: &Host, family: Family, backlog: i32) -> TcpListener {
    host.run(|| {
        let socket = unbound(family);
        socket.bind(&host.socket_address(family, 0).into()).expect("bind");
        socket.listen(backlog).expect("listen");
        socket.into()
    })
}

/// Connects from inside `netns`.
pub fn connect(netns: &Netns, to: SocketAddr) -> TcpStream {
    netns
        .run(|| TcpStream::connect_timeout(&to, wait::PATIENCE))
        .unwrap_or_else(|error| panic!("{to}: {error}"))
}

/// A connect that was started and not waited for, with its side; the source port is known.
pub fn start_connect(host: &Host, to: SocketAddr) -> (TcpStream, Side) {
    start(host, bound(host, Family::of(to)), to)
}

/// The same from a socket that is already bound.
pub fn start(host: &Host, socket: Socket, to: SocketAddr) -> (TcpStream, Side) {
    socket.set_nonblocking(true).expect("O_NONBLOCK");
    let error = socket.connect(&to.into()).expect_err("a connect takes a round trip");
    assert_eq!(error.raw_os_error(), Some(libc::EINPROGRESS), "connect to {to}");
    let local = bound_address(&socket);
    (socket.into(), Side { netns: host.inode(), local, remote: to })
}

/// Address a socket is bound to.
pub fn bound_address(socket: &Socket) -> SocketAddr {
    socket.local_addr().expect("local address").as_socket().expect("an Internet address")
}

/// A socket bound to a free port of the host, neither listening nor connected.
pub fn bound(host: &Host, family: Family) -> Socket {
    let socket = host.run(|| unbound(family));
    socket.bind(&host.socket_address(family, 0).into()).expect("bind");
    socket
}

fn unbound(family: Family) -> Socket {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).expect("socket")
}

/// Address a listener is bound to.
pub fn local_address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("local address")
}

/// A port that nobody listens on: it was free a moment ago in a namespace where nobody else asks. Its socket never
/// listened, since a process that another test starts at this moment has a copy of it until it calls exec.
pub fn closed_port(host: &Host, family: Family) -> SocketAddr {
    bound_address(&bound(host, family))
}

/// Waits for the end of a socket; the errno that ended it.
pub fn death(stream: &TcpStream) -> i32 {
    // Asked for earlier, the error would be gone when the state changes (`tcp_done_with_error`).
    wait::until("the socket to close", || state(stream) == CLOSE);
    let error = wait::some("its error", || stream.take_error().expect("SO_ERROR"));
    error.raw_os_error().expect("an errno")
}

/// Waits until everything written was acknowledged (SIOCOUTQ: `write_seq - snd_una`).
pub fn acknowledged(stream: &TcpStream) {
    wait::until("all data to be acknowledged", || unacknowledged(stream) == 0);
}

/// Waits until `count` bytes wait to be read.
pub fn readable(stream: &TcpStream, count: usize) {
    wait::until("data to arrive", || unread(stream) >= count);
}

/// Sets `SO_SNDBUF` beyond `wmem_max` (`SO_SNDBUFFORCE`); the kernel doubles it.
pub fn force_send_buffer(stream: &TcpStream, bytes: i32) {
    set_option(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, bytes).expect("SO_SNDBUFFORCE");
}

/// Writes without waiting until nothing more fits; returns how much did.
pub fn fill(stream: &TcpStream) -> usize {
    nonblocking(stream);
    let chunk = [b'x'; 16 * 1024];
    let mut written = 0;
    loop {
        match (&*stream).write(&chunk) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return written,
            Err(error) => panic!("write: {error}"),
        }
    }
}

/// Makes calls return rather than wait.
pub fn nonblocking(stream: &TcpStream) {
    stream.set_nonblocking(true).expect("O_NONBLOCK");
}

/// Writes `count` bytes.
pub fn send(stream: &TcpStream, count: usize) {
    (&*stream).write_all(&vec![b'x'; count]).expect("send");
}

/// Reads until the end; the number of bytes and the errno that ended it, if not the end of the stream.
pub fn drain(stream: &TcpStream) -> (usize, Option<i32>) {
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        match (&*stream).read(&mut buffer) {
            Ok(0) => return (total, None),
            Ok(count) => total += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (total, error.raw_os_error()),
        }
    }
}

/// Closes with `SO_LINGER` {1, 0}: `tcp_close` disconnects and resets.
pub fn abort(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    drop(stream);
}

/// Dissolves the connection by `connect(AF_UNSPEC)` (`tcp_disconnect`).
pub fn disconnect(stream: &TcpStream) {
    // SAFETY: all-zero is a valid sockaddr; its family 0 is AF_UNSPEC.
    let nowhere: libc::sockaddr = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, and the address lives for the call with the length given.
    let result =
        unsafe { libc::connect(stream.as_raw_fd(), &raw const nowhere, size_of_val(&nowhere) as u32) };
    checked(result).expect("connect to nowhere");
}

/// Probes an idle peer after a second, `count` times a second apart.
pub fn keepalive(stream: &TcpStream, count: u32) {
    let second = Duration::from_secs(1);
    let keepalive = TcpKeepalive::new().with_time(second).with_interval(second).with_retries(count);
    SockRef::from(stream).set_tcp_keepalive(&keepalive).expect("SO_KEEPALIVE");
}

/// `TCP_USER_TIMEOUT`.
pub fn user_timeout(stream: &TcpStream, timeout: Duration) {
    SockRef::from(stream).set_tcp_user_timeout(Some(timeout)).expect("TCP_USER_TIMEOUT");
}

/// `TCP_LINGER2`: seconds an orphan may stay in `FIN_WAIT2`; negative: none, it resets.
pub fn linger2(stream: &TcpStream, seconds: i32) {
    set_option(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_LINGER2, seconds).expect("TCP_LINGER2");
}

/// `SO_COOKIE`: the kernel's own name of the socket.
pub fn cookie(stream: &TcpStream) -> u64 {
    let mut cookie = 0_u64;
    // SAFETY: an integer takes any bytes.
    unsafe { option(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_COOKIE, &mut cookie) }.expect("SO_COOKIE");
    cookie
}

/// The sequence number of the next byte that will be written (`TCP_REPAIR`, which stops the socket meanwhile).
pub fn next_seq(stream: &TcpStream) -> u32 {
    /// `TCP_SEND_QUEUE`
    const SEND_QUEUE: i32 = 2;
    /// `TCP_REPAIR_OFF_NO_WP`: without a window probe.
    const OFF: i32 = -1;
    let (fd, mut seq) = (stream.as_raw_fd(), 0_u32);
    let set = |name, value| set_option(fd, libc::IPPROTO_TCP, name, value).expect("TCP_REPAIR");
    set(libc::TCP_REPAIR, 1);
    set(libc::TCP_REPAIR_QUEUE, SEND_QUEUE);
    // SAFETY: an integer takes any bytes.
    unsafe { option(fd, libc::IPPROTO_TCP, libc::TCP_QUEUE_SEQ, &mut seq) }.expect("TCP_QUEUE_SEQ");
    set(libc::TCP_REPAIR, OFF);
    seq
}

/// `TCP_INFO`.
pub fn info(stream: &TcpStream) -> libc::tcp_info {
    // SAFETY: plain integers: all-zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    // SAFETY: plain integers take any bytes; the kernel writes no more than the length given.
    unsafe { option(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, &mut info) }.expect("TCP_INFO");
    info
}

/// TCP states, as the kernel numbers them.
pub const FIN_WAIT2: u8 = 5;
/// See [`FIN_WAIT2`].
pub const CLOSE: u8 = 7;
/// See [`FIN_WAIT2`].
pub const CLOSE_WAIT: u8 = 8;
/// See [`FIN_WAIT2`].
pub const LAST_ACK: u8 = 9;

/// The state of the connection.
pub fn state(stream: &TcpStream) -> u8 {
    info(stream).tcpi_state
}

/// Bytes received and not read (FIONREAD).
pub fn unread(stream: &TcpStream) -> usize {
    queue(stream, libc::FIONREAD)
}

/// Bytes written and not acknowledged (SIOCOUTQ, the same number as TIOCOUTQ).
pub fn unacknowledged(stream: &TcpStream) -> usize {
    queue(stream, libc::TIOCOUTQ)
}

fn queue(stream: &TcpStream, request: libc::Ioctl) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: both requests write one int, which lives for the call.
    checked(unsafe { libc::ioctl(stream.as_raw_fd(), request, &raw mut count) }).expect("ask for a queue");
    usize::try_from(count).expect("queues are not negative")
}

/// A filter that takes nothing (`SO_ATTACH_FILTER`): what comes for the socket is dropped.
pub fn take_nothing(stream: &TcpStream) {
    let mut nothing = libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 };
    let program = libc::sock_fprog { len: 1, filter: &raw mut nothing };
    set_whole(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
        .expect("SO_ATTACH_FILTER");
}

/// `struct tcp_md5sig`.
#[repr(C)]
struct Signature {
    address: SockAddrStorage,
    flags: u8,
    prefix: u8,
    key_length: u16,
    device: i32,
    key: [u8; 80],
}

/// Signs all segments to `peer` with `key` and takes no others from it (`TCP_MD5SIG`, RFC 2385).
pub fn sign(socket: RawFd, peer: SocketAddr, key: &str) {
    let address = SockAddr::from(SocketAddr::new(peer.ip(), 0)).as_storage();
    let mut bytes = [0; 80];
    bytes[..key.len()].copy_from_slice(key.as_bytes());
    let key_length = key.len().try_into().expect("a short key");
    let signature = Signature { address, flags: 0, prefix: 0, key_length, device: 0, key: bytes };
    set_whole(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG, &signature).expect("TCP_MD5SIG");
}

/// Sets an option that is an int.
pub fn set_option(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    set_whole(fd, level, name, &value)
}

fn set_whole<T>(fd: RawFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let length = size_of_val(value) as libc::socklen_t;
    // SAFETY: the value lives for the call with the length given.
    checked(unsafe { libc::setsockopt(fd, level, name, (&raw const *value).cast(), length) })
}

/// Reads an option into `value`.
///
/// # Safety
/// Every bit pattern must be a value of `T`.
unsafe fn option<T>(fd: RawFd, level: i32, name: i32, value: &mut T) -> io::Result<()> {
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `value`, of which any pattern is valid.
    checked(unsafe { libc::getsockopt(fd, level, name, (&raw mut *value).cast(), &raw mut length) })
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
