//! Connections that the kernel gives up without a reset: ETIMEDOUT (`tcp_write_err`).

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::link::{Family, Loss, Pair};
use crate::scenes::retransmit::{self, Resent};
use crate::snmp::{Meter, Snmp};
use crate::tcp::{self, Connection, Side};

/// A socket that died at the client.
#[derive(Debug)]
pub struct Death {
    /// The side that gave up.
    pub side: Side,
    /// Its state when it did.
    pub state: &'static str,
    /// errno that the application got; none if there was no application left.
    pub errno: Option<i32>,
    /// From the first segment not answered to the end.
    pub after: Duration,
    /// The client's counters over the scene.
    pub snmp: Snmp,
    /// The peer, whose end would meet no socket any more.
    pub peer: Option<TcpStream>,
}

/// The peer falls silent; the client gives up as `tcp_retries2` says (`tcp_write_timeout`).
pub fn silence(pair: &Pair, family: Family, retries2: u8) -> Death {
    pair.client.sysctl("ipv4.tcp_retries2", retries2);
    unanswered(pair, family, |_| ())
}

/// The peer falls silent; `TCP_USER_TIMEOUT` decides (`tcp_clamp_rto_to_user_timeout`).
pub fn user_timeout(pair: &Pair, family: Family, timeout: Duration) -> Death {
    unanswered(pair, family, |client| tcp::user_timeout(client, timeout))
}

fn unanswered(pair: &Pair, family: Family, set: impl FnOnce(&TcpStream)) -> Death {
    let Connection { client, client_side, server, .. } = Connection::open(pair, family);
    set(&client);
    let meter = Meter::new(&pair.client);
    pair.server.drop_incoming(&Loss::all());
    let start = Instant::now();
    tcp::send(&client, 100);
    Death { peer: Some(server), ..died(client_side, "ESTABLISHED", &client, start, &meter) }
}

/// Nobody answers the SYN; the client gives up as `tcp_syn_retries` says. With
/// `tcp_syn_linear_timeouts` 0 the timer doubles from the first.
pub fn connect(pair: &Pair, family: Family, syn_retries: u8) -> Death {
    connect_linear(pair, family, syn_retries, 0)
}

/// The same, whose timer doubles only after `linear` timeouts.
pub fn connect_linear(pair: &Pair, family: Family, syn_retries: u8, linear: u8) -> Death {
    pair.client.sysctl("ipv4.tcp_syn_retries", syn_retries);
    pair.client.sysctl("ipv4.tcp_syn_linear_timeouts", linear);
    pair.server.drop_incoming(&Loss::all());
    let meter = Meter::new(&pair.client);
    let start = Instant::now();
    let (client, side) = tcp::start_connect(&pair.client, tcp::closed_port(&pair.server, family));
    died(side, "SYN_SENT", &client, start, &meter)
}

fn died(side: Side, state: &'static str, client: &TcpStream, start: Instant, meter: &Meter) -> Death {
    let errno = Some(tcp::death(client));
    Death { side, state, errno, after: start.elapsed(), snmp: meter.read(), peer: None }
}

/// The application closes with data unsent to a silent peer; the orphan is given up as
/// `tcp_orphan_retries` says.
pub fn orphan(pair: &Pair, family: Family, orphan_retries: u8) -> Death {
    pair.client.sysctl("ipv4.tcp_orphan_retries", orphan_retries);
    let Connection { client, client_side: side, server, .. } = Connection::open(pair, family);
    let meter = Meter::new(&pair.client);
    pair.server.drop_incoming(&Loss::all());
    let start = Instant::now();
    tcp::send(&client, 100);
    drop(client);
    meter.reach("TcpExtTCPAbortOnTimeout", 1);
    let (after, peer) = (start.elapsed(), Some(server));
    Death { side, state: "FIN_WAIT1", errno: None, after, snmp: meter.read(), peer }
}

/// The client's own device goes down before data leaves: nothing was ever in flight, so zero-window
/// probes kill it (`tcp_probe_timer`), with ETIMEDOUT and without one retransmission.
pub fn own_device_down(pair: &Pair, family: Family, retries2: u8) -> Death {
    pair.client.sysctl("ipv4.tcp_retries2", retries2);
    let Connection { client, client_side, server, .. } = Connection::open(pair, family);
    let meter = Meter::new(&pair.client);
    pair.client.down();
    let start = Instant::now();
    tcp::send(&client, 100);
    Death { peer: Some(server), ..died(client_side, "ESTABLISHED", &client, start, &meter) }
}

/// A connection whose peer falls silent without anything in flight: the probes that follow have no event.
#[derive(Debug)]
pub struct Probed {
    /// The side that probes.
    pub side: Side,
    /// Its socket.
    pub client: TcpStream,
    /// The peer, whose end would meet no socket any more.
    pub peer: TcpStream,
}

/// An idle peer falls silent; the client asks it `count` times, a second apart (`tcp_keepalive_timer`).
pub fn keepalive(pair: &Pair, family: Family, count: u32) -> Probed {
    idle(pair, family, |client| tcp::keepalive(client, count))
}

/// The same; `TCP_USER_TIMEOUT` decides, however many probes are allowed.
pub fn keepalive_user_timeout(pair: &Pair, family: Family, timeout: Duration) -> Probed {
    idle(pair, family, |client| {
        tcp::keepalive(client, 60);
        tcp::user_timeout(client, timeout);
    })
}

fn idle(pair: &Pair, family: Family, set: impl FnOnce(&TcpStream)) -> Probed {
    let Connection { client, client_side: side, server: peer, .. } = Connection::open(pair, family);
    // The last segment received is data, a while after the last acknowledgement: keepalive counts from there.
    thread::sleep(Duration::from_millis(700));
    tcp::send(&peer, 1);
    tcp::readable(&client, 1);
    tcp::acknowledged(&peer);
    pair.server.drop_incoming(&Loss::all());
    set(&client);
    Probed { side, client, peer }
}

/// The reader stops, the window shuts with nothing in flight, and then the peer falls silent: the client gives
/// up after `tcp_retries2` probes (`tcp_probe_timer`), or by `TCP_USER_TIMEOUT` if there is one.
pub fn zero_window(pair: &Pair, family: Family, retries2: u8, timeout: Option<Duration>) -> Probed {
    pair.client.sysctl("ipv4.tcp_retries2", retries2);
    let Resent { side, socket: client, peer, .. } = retransmit::zero_window(pair, family, 1);
    if let Some(timeout) = timeout {
        tcp::user_timeout(&client, timeout);
    }
    pair.server.drop_incoming(&Loss::all());
    Probed { side, client, peer: peer.expect("the reader that stopped") }
}
