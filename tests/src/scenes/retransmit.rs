//! Segments sent again, one scene for each reason.

use std::net::TcpStream;

use socket2::SockRef;

use crate::link::{Family, Loss, Pair};
use crate::snmp::{Meter, Snmp};
use crate::tcp::{self, Connection, Side};
use crate::wait;

/// What was sent again, and why, as the sender's kernel counted it.
#[derive(Debug)]
pub struct Resent {
    /// The sender's side.
    pub side: Side,
    /// The sender's counters over the scene.
    pub snmp: Snmp,
    /// The sender's socket, still open; `total_retrans` of its `TCP_INFO` is final.
    pub socket: TcpStream,
    /// The other end, kept open with it.
    pub peer: Option<TcpStream>,
}

impl Resent {
    fn new(connection: Connection, snmp: Snmp) -> Self {
        let Connection { client, server, client_side, .. } = connection;
        Self { side: client_side, snmp, socket: client, peer: Some(server) }
    }

    /// Segments sent again by this socket (`tcp_sock.total_retrans`).
    pub fn total(&self) -> u64 {
        tcp::info(&self.socket).tcpi_total_retrans.into()
    }
}

/// Bytes of a single lost segment.
pub const LENGTH: usize = 1000;

/// Full-sized segments that a new connection may have in flight (`TCP_INIT_CWND`).
const INITIAL_WINDOW: usize = 10;

/// A segment of [`LENGTH`] bytes is lost, and again each of `count` times that the timer sends it
/// (`tcp_retransmit_timer`); the next arrives. A pair without tail loss probes shows nothing else.
pub fn timeouts(pair: &Pair, family: Family, count: u32) -> Resent {
    let connection = Connection::open(pair, family);
    let meter = Meter::new(&pair.client);
    pair.server.drop_incoming(&Loss::data().first(1 + count));
    tcp::send(&connection.client, LENGTH);
    tcp::acknowledged(&connection.client);
    pair.server.pass();
    Resent::new(connection, meter.read())
}

/// The only segment in flight is lost; `tcp_send_loss_probe` sends it again before the timer would.
pub fn tail_loss_probe(pair: &Pair, family: Family) -> Resent {
    let connection = Connection::open(pair, family);
    let meter = Meter::new(&pair.client);
    pair.server.drop_incoming(&Loss::data().first(1));
    tcp::send(&connection.client, LENGTH);
    tcp::acknowledged(&connection.client);
    pair.server.pass();
    Resent::new(connection, meter.read())
}

/// The first of ten segments is lost; nine selective acknowledgements make `tcp_xmit_recovery` send it
/// again at once.
pub fn fast(pair: &Pair, family: Family) -> Resent {
    pair.client.unsegmented();
    let connection = Connection::open(pair, family);
    let meter = Meter::new(&pair.client);
    pair.server.drop_incoming(&Loss::data().first(1));
    send_window(&connection.client);
    tcp::acknowledged(&connection.client);
    pair.server.pass();
    Resent::new(connection, meter.read())
}

/// A megabyte over a path that loses one packet in 20, segmentation offload and all: every kind of
/// resend that the kernel finds fit.
pub fn lossy_transfer(pair: &Pair, family: Family) -> Resent {
    let connection = Connection::open(pair, family);
    let meter = Meter::new(&pair.client);
    pair.server.drop_incoming(&Loss::data().one_in(20));
    let reader = connection.server.try_clone().expect("duplicate the server's socket");
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || tcp::drain(&reader));
        tcp::send(&connection.client, 1 << 20);
        connection.client.shutdown(std::net::Shutdown::Write).expect("shutdown");
        assert_eq!(reader.join().expect("read it all"), (1 << 20, None));
    });
    tcp::acknowledged(&connection.client);
    pair.server.pass();
    Resent::new(connection, meter.read())
}

/// All ten segments in flight are lost; after one timeout the acknowledgements clock the other nine out
/// (`tcp_xmit_retransmit_queue` in Loss). Wants a pair without tail loss probes.
pub fn slow_start(pair: &Pair, family: Family) -> Resent {
    pair.client.unsegmented();
    let connection = Connection::open(pair, family);
    let meter = Meter::new(&pair.client);
    pair.server.drop_incoming(&Loss::data().first(INITIAL_WINDOW as u32));
    send_window(&connection.client);
    tcp::acknowledged(&connection.client);
    pair.server.pass();
    Resent::new(connection, meter.read())
}

/// The first SYN is lost; the timer sends another after a second (`tcp_retransmit_timer` in `SYN_SENT`).
pub fn syn(pair: &Pair, family: Family) -> Resent {
    let listener = tcp::listen(&pair.server, family, 128);
    let meter = Meter::new(&pair.client);
    pair.server.drop_incoming(&Loss::all().first(1));
    let client = tcp::connect(&pair.client, tcp::local_address(&listener));
    let snmp = meter.read();
    pair.server.pass();
    Resent::new(Connection::accepted(pair, listener, client), snmp)
}

/// The third packet of the handshake is lost; the half-open connection's timer sends the SYN-ACK again
/// after a second (`reqsk_timer_handler`). The side is the half-open connection at the server, the
/// counters the server's, the socket the client's.
pub fn synack(pair: &Pair, family: Family) -> Resent {
    let listener = tcp::listen(&pair.server, family, 128);
    let meter = Meter::new(&pair.server);
    pair.server.drop_incoming(&Loss::bare_acks().first(1));
    let client = tcp::connect(&pair.client, tcp::local_address(&listener));
    let Connection { client, server, server_side, .. } = Connection::accepted(pair, listener, client);
    let snmp = meter.read();
    pair.server.pass();
    Resent { side: server_side, snmp, socket: client, peer: Some(server) }
}

/// The sender's own firewall refuses every resend (EPERM from `ip_queue_xmit`) until the timer fired
/// `count` times. Wants a pair without tail loss probes.
pub fn refused(pair: &Pair, family: Family, count: u64) -> Resent {
    let connection = Connection::open(pair, family);
    let meter = Meter::new(&pair.client);
    pair.server.drop_incoming(&Loss::data().first(1));
    tcp::send(&connection.client, LENGTH);
    pair.client.refuse_outgoing(&Loss::data());
    meter.reach("TcpExtTCPRetransFail", count);
    pair.client.pass();
    tcp::acknowledged(&connection.client);
    pair.server.pass();
    Resent::new(connection, meter.read())
}

/// The acknowledgement is late: the timer fires, then both copies are acknowledged, the second as a
/// duplicate (DSACK), which proves the resend needless. Wants a pair without tail loss probes.
pub fn spurious(pair: &Pair, family: Family) -> Resent {
    let connection = Connection::open(pair, family);
    let meter = Meter::new(&pair.client);
    pair.client.drop_incoming(&Loss::all());
    tcp::send(&connection.client, LENGTH);
    meter.reach("TcpExtTCPTimeouts", 1);
    pair.client.pass();
    tcp::acknowledged(&connection.client);
    meter.reach("TcpExtTCPDSACKRecv", 1);
    Resent::new(connection, meter.read())
}

/// The reader stops: the window closes and the sender probes it `probes` times (`tcp_probe_timer`).
/// Nothing is sent again: segments this large cost the reader little more memory than the window
/// promises, and each is acknowledged before the timer of a pair without tail loss probes.
pub fn zero_window(pair: &Pair, family: Family, probes: u64) -> Resent {
    fill_until(pair, family, 16 << 10, "TcpExtTCPWinProbe", probes)
}

/// The reader stops, and small segments use up its memory before its window: it drops what arrives and
/// says window 0 with data in flight, which the timer sends again without counting a timeout
/// (`tcp_retransmit_timer`, `!tp->snd_wnd`), `count` times.
pub fn shrunk_window(pair: &Pair, family: Family, count: u64) -> Resent {
    fill_until(pair, family, 1000, "TcpRetransSegs", count)
}

/// Fills the window by `chunk` bytes, each acknowledged before the next, until `counter` moves, and
/// waits until it is `count`.
fn fill_until(pair: &Pair, family: Family, chunk: usize, counter: &str, count: u64) -> Resent {
    let connection = Connection::open(pair, family);
    // As large as it is, but fixed: otherwise it grows to tcp_rmem[2] unread (`tcp_clamp_window`).
    SockRef::from(&connection.server).set_recv_buffer_size(64 << 10).expect("SO_RCVBUF");
    let meter = Meter::new(&pair.client);
    while meter.get(counter) == 0 {
        tcp::send(&connection.client, chunk);
        wait::until(&format!("an acknowledgement or {counter}"), || {
            tcp::unacknowledged(&connection.client) == 0 || meter.get(counter) > 0
        });
    }
    meter.reach(counter, count);
    Resent::new(connection, meter.read())
}

fn send_window(stream: &TcpStream) {
    let mss = tcp::info(stream).tcpi_snd_mss as usize;
    tcp::send(stream, INITIAL_WINDOW * mss);
}
