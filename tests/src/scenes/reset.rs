//! Resets that ordinary programs cause. Reasons are those of `enum sk_rst_reason`.

use std::io::ErrorKind::ConnectionRefused;
use std::io::Write as _;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use crate::link::{Family, Host, Loss, Pair};
use crate::scenes::accept_queue::FullAcceptQueue;
use crate::snmp::{self, Meter, Snmp};
use crate::tcp::{self, Connection, Side};
use crate::wait;

/// Who reset whom.
#[derive(Debug)]
pub struct Reset {
    /// The side that sent it.
    pub sender: Side,
    /// Why, in the kernel's word.
    pub reason: &'static str,
    /// Sent on its own initiative, not in answer to a segment.
    pub active: bool,
    /// Bytes that the sender had received and not read.
    pub unread: u64,
    /// The side that received it, unless it was lost.
    pub receiver: Option<Side>,
    /// errno that the receiver's socket ended with.
    pub errno: Option<i32>,
    /// The sender's counters over the scene.
    pub snmp: Snmp,
    /// Sockets whose own end would send one more reset.
    pub held: Vec<OwnedFd>,
}

/// Nobody listens (`tcp_v4_rcv`, `no_tcp_socket`): connection refused.
pub fn no_socket(pair: &Pair, family: Family) -> Reset {
    let to = tcp::closed_port(&pair.server, family);
    let meter = Meter::new(&pair.server);
    let (client, side) = tcp::start_connect(&pair.client, to);
    let errno = tcp::death(&client);
    answer(pair, "NO_SOCKET", side, errno, &meter)
}

/// `count` connects to a closed port, one after another; the receiver's port is any.
pub fn burst(pair: &Pair, family: Family, count: u64) -> Reset {
    let to = tcp::closed_port(&pair.server, family);
    let meter = Meter::new(&pair.server);
    let refused = pair.client.run(|| {
        (0..count)
            .filter(|_| TcpStream::connect(to).is_err_and(|error| error.kind() == ConnectionRefused))
            .count()
    });
    assert_eq!(refused as u64, count);
    let last = Side { netns: pair.client.inode(), local: pair.client.socket_address(family, 0), remote: to };
    answer(pair, "NO_SOCKET", last, libc::ECONNREFUSED, &meter)
}

/// The server closes with `unread` bytes unread (`__tcp_close`).
pub fn abort_on_close(pair: &Pair, family: Family, unread: usize) -> Reset {
    let connection = Connection::open(pair, family);
    tcp::send(&connection.client, unread);
    tcp::readable(&connection.server, unread);
    Reset { unread: unread as u64, ..by_server(pair, connection, "TCP_ABORT_ON_CLOSE", drop) }
}

/// The client closes with unread data: the end that connected sends it.
pub fn abort_of_client(pair: &Pair, family: Family) -> Reset {
    let Connection { client, server, client_side, server_side, listener: _listener } =
        Connection::open(pair, family);
    let meter = Meter::new(&pair.client);
    tcp::send(&server, 100);
    tcp::readable(&client, 100);
    drop(client);
    let errno = tcp::death(&server);
    let reason = "TCP_ABORT_ON_CLOSE";
    let (sender, receiver, errno) = (client_side, Some(server_side), Some(errno));
    Reset { sender, reason, active: true, unread: 100, receiver, errno, snmp: meter.read(), held: Vec::new() }
}

/// The server closes with unread data while the client has more to send, so that both lose some.
pub fn by_peer(pair: &Pair, family: Family) -> Reset {
    let connection = Connection::open(pair, family);
    // The window shuts: some of it is sent, some is not.
    tcp::fill(&connection.client);
    tcp::readable(&connection.server, 1);
    by_server(pair, connection, "TCP_ABORT_ON_CLOSE", drop)
}

/// Both ends in one namespace, over loopback; the one that accepted closes with `unread` bytes unread. Keeps
/// the client.
pub fn on_one_host(host: &Host, unread: usize) -> TcpStream {
    host.command("ip link set lo up");
    let listener = host.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen"));
    let client = tcp::connect(host, tcp::local_address(&listener));
    let (server, _) = listener.accept().expect("accept");
    tcp::send(&client, unread);
    tcp::readable(&server, unread);
    drop(server);
    assert_eq!(tcp::death(&client), libc::ECONNRESET);
    client
}

/// The server closes with `SO_LINGER` {1, 0} (`__tcp_close` calls `tcp_disconnect`).
pub fn linger(pair: &Pair, family: Family) -> Reset {
    by_server(pair, Connection::open(pair, family), "TCP_STATE", tcp::abort)
}

/// The server dissolves the connection: `connect(AF_UNSPEC)` (`tcp_disconnect`).
pub fn disconnect(pair: &Pair, family: Family) -> Reset {
    by_server(pair, Connection::open(pair, family), "TCP_STATE", |server| tcp::disconnect(&server))
}

/// `ss -K` destroys the server's socket (`tcp_abort`): the process that runs is `ss`, not the owner.
pub fn killed(pair: &Pair, family: Family) -> Reset {
    let connection = Connection::open(pair, family);
    let Side { local, remote, .. } = connection.server_side;
    by_server(pair, connection, "TCP_STATE", |server| {
        pair.server.command(&format!("ss --kill --tcp src {local} dst {remote}"));
        assert_eq!(tcp::death(&server), libc::ECONNABORTED);
    })
}

/// The server closes a listener whose queue holds `count` connections nobody accepted
/// (`inet_csk_listen_stop`).
pub fn listener_closed(pair: &Pair, family: Family, count: usize) -> Vec<Reset> {
    let listener = tcp::listen(&pair.server, family, 128);
    let to = tcp::local_address(&listener);
    let meter = Meter::new(&pair.server);
    let clients: Vec<TcpStream> = (0..count).map(|_| tcp::connect(&pair.client, to)).collect();
    let sides = clients.iter().map(|client| Side::of(&pair.client, client)).collect::<Vec<_>>();
    meter.reach("TcpPassiveOpens", count as u64);
    drop(listener);
    let errors: Vec<i32> = clients.iter().map(tcp::death).collect();
    let dead = sides.into_iter().zip(errors);
    dead.map(|(side, errno)| Reset { active: true, ..answer(pair, "TCP_STATE", side, errno, &meter) })
        .collect()
}

/// The server closed, the client keeps writing: its data meets a `TIME_WAIT` mini socket
/// (`tcp_timewait_state_process`). The usual "connection reset by peer".
pub fn time_wait(pair: &Pair, family: Family) -> Reset {
    let Connection { client, server, client_side, .. } = Connection::open(pair, family);
    let meter = Meter::new(&pair.server);
    // An ACK of the FIN that comes while close() has the socket leaves it whole (`tcp_rcv_state_process`).
    server.shutdown(Shutdown::Write).expect("shutdown");
    wait::until("FIN_WAIT2", || tcp::state(&server) == tcp::FIN_WAIT2);
    drop(server);
    wait::until("FIN_WAIT2 to become a mini socket", || snmp::sockstat(&pair.server, "TCP", "tw") == 1);
    tcp::send(&client, 1);
    let errno = tcp::death(&client);
    answer(pair, "TCP_TIMEWAIT_SOCKET", client_side, errno, &meter)
}

/// The server closes with `TCP_LINGER2` below zero: it resets instead of waiting in `FIN_WAIT2`, when its
/// FIN is acknowledged (`tcp_rcv_state_process`).
pub fn linger2(pair: &Pair, family: Family) -> Reset {
    let Connection { client, server, client_side, .. } = Connection::open(pair, family);
    let meter = Meter::new(&pair.server);
    tcp::linger2(&server, -1);
    drop(server);
    let errno = tcp::death(&client);
    answer(pair, "TCP_ABORT_ON_DATA", client_side, errno, &meter)
}

/// Data arrives after the server's shutdown(RDWR) (`tcp_rcv_state_process` calls `tcp_reset`, so
/// `tcp_receive_reset` fires at the server too, where no reset was received).
pub fn data_after_shutdown(pair: &Pair, family: Family) -> Reset {
    let Connection { client, server, client_side, .. } = Connection::open(pair, family);
    let meter = Meter::new(&pair.server);
    server.shutdown(Shutdown::Both).expect("shutdown");
    wait::until("FIN_WAIT2", || tcp::state(&server) == tcp::FIN_WAIT2);
    tcp::send(&client, 1);
    let errno = tcp::death(&client);
    assert_eq!(tcp::death(&server), libc::ECONNRESET);
    answer(pair, "TCP_ABORT_ON_DATA", client_side, errno, &meter)
}

/// The server disconnects in `LAST_ACK` with data that the client, whose window is closed, could not
/// take (`tcp_disconnect`).
pub fn disconnect_with_data(pair: &Pair, family: Family) -> Reset {
    let Connection { client, server, client_side, .. } = Connection::open(pair, family);
    let meter = Meter::new(&pair.server);
    tcp::fill(&server);
    client.shutdown(Shutdown::Write).expect("shutdown");
    wait::until("CLOSE_WAIT", || tcp::state(&server) == tcp::CLOSE_WAIT);
    server.shutdown(Shutdown::Write).expect("shutdown");
    assert_eq!(tcp::state(&server), tcp::LAST_ACK);
    tcp::disconnect(&server);
    let errno = tcp::death(&client);
    Reset { active: true, ..answer(pair, "TCP_DISCONNECT_WITH_DATA", client_side, errno, &meter) }
}

/// The client's keepalive probes go unanswered (`tcp_keepalive_timer`); its reset is lost too.
pub fn keepalive_timeout(pair: &Pair, family: Family) -> Reset {
    let Connection { client, client_side, server, .. } = Connection::open(pair, family);
    let meter = Meter::new(&pair.client);
    pair.server.drop_incoming(&Loss::all());
    tcp::keepalive(&client, 1);
    assert_eq!(tcp::death(&client), libc::ETIMEDOUT);
    let snmp = meter.read();
    pair.server.pass();
    let reason = "TCP_KEEPALIVE_TIMEOUT";
    let (sender, held) = (client_side, vec![server.into()]);
    Reset { sender, reason, active: true, unread: 0, receiver: None, errno: None, snmp, held }
}

/// The accept queue is full when a handshake completes and `tcp_abort_on_overflow` is set
/// (`tcp_check_req`, `embryonic_reset`).
pub fn accept_queue_overflow(pair: &Pair, family: Family) -> Reset {
    pair.server.sysctl("ipv4.tcp_abort_on_overflow", 1);
    let FullAcceptQueue { meter, overflows, side, held } = FullAcceptQueue::new(pair, family);
    // On a slow machine the next SYN-ACK was faster, and the write has the error.
    let written = (&overflows).write_all(&[0]);
    let errno =
        written.err().and_then(|error| error.raw_os_error()).unwrap_or_else(|| tcp::death(&overflows));
    Reset { held, ..answer(pair, "INVALID_SYN", side, errno, &meter) }
}

fn by_server(
    pair: &Pair,
    connection: Connection,
    reason: &'static str,
    act: impl FnOnce(TcpStream),
) -> Reset {
    let meter = Meter::new(&pair.server);
    let Connection { client, server, client_side, listener: _listener, server_side: _ } = connection;
    act(server);
    let errno = tcp::death(&client);
    Reset { active: true, ..answer(pair, reason, client_side, errno, &meter) }
}

/// A reset that the server sent to `receiver` in answer to one of its segments.
fn answer(pair: &Pair, reason: &'static str, receiver: Side, errno: i32, meter: &Meter) -> Reset {
    let sender = receiver.reversed(&pair.server);
    let snmp = meter.read();
    Reset {
        sender,
        reason,
        active: false,
        unread: 0,
        receiver: Some(receiver),
        errno: Some(errno),
        snmp,
        held: Vec::new(),
    }
}
