//! What is done to TCP while the cost is measured.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tests::link::{Family, Loss, Pair};
use tests::netns::Netns;
use tests::tcp;
use tests::wait;

/// Something that is done many times; how long each one took, in nanoseconds.
pub type Load = fn(&Netns, usize) -> Vec<f64>;

const LOOPBACK: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// Not a port that a client may get: one that connects to its own finds itself there.
const CLOSED: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 1);

/// Connects to a closed port: a reset sent without a socket, one received in SYN_SENT.
pub fn refused(netns: &Netns, count: usize) -> Vec<f64> {
    netns.run(|| {
        (0..count).map(|_| timed(|| TcpStream::connect(CLOSED).expect_err("nobody listens"))).collect()
    })
}

/// Connections that open and close as they should.
pub fn short(netns: &Netns, count: usize) -> Vec<f64> {
    served(netns, count, drop)
}

/// Connections that the client resets.
pub fn aborted(netns: &Netns, count: usize) -> Vec<f64> {
    served(netns, count, tcp::abort)
}

/// A listener of its own each time: no pair of ports is used twice, whatever waits in `TIME_WAIT`.
fn served(netns: &Netns, count: usize, end: fn(TcpStream)) -> Vec<f64> {
    netns.run(|| {
        let listener = TcpListener::bind(LOOPBACK).expect("listen");
        let to = listener.local_addr().expect("its address");
        let one = || {
            let client = TcpStream::connect(to).expect("connect");
            let server = listener.accept().expect("accept");
            end(client);
            drop(server);
        };
        (0..count).map(|_| timed(one)).collect()
    })
}

fn timed<T>(act: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    act();
    start.elapsed().as_nanos() as f64
}

/// Connections whose data gets lost on the way, both ends held here.
#[derive(Debug)]
pub struct Stalled {
    pair: Pair,
    clients: Vec<TcpStream>,
    servers: Vec<TcpStream>,
}

impl Stalled {
    /// Opens them; nothing is lost yet.
    pub fn open(count: usize) -> Self {
        let pair = Pair::new();
        let listener = tcp::listen(&pair.server, Family::V4, 128);
        let to = tcp::local_address(&listener);
        let ends = pair.client.run(|| (0..count).map(|_| connected(&listener, to)).collect::<Vec<_>>());
        let (clients, servers) = ends.into_iter().unzip();
        Self { pair, clients, servers }
    }

    /// Where the clients are.
    pub fn client(&self) -> &Netns {
        &self.pair.client
    }

    /// Segments that the clients' kernel sent again.
    pub fn resent(&self) -> u64 {
        tests::snmp::Snmp::read(&self.pair.client).get("TcpRetransSegs")
    }

    /// Writes into each, loses all that arrives, and waits until each was sent again `times` times.
    pub fn resend(&mut self, times: u64) {
        self.pair.server.drop_incoming(&Loss::all());
        let meter = tests::snmp::Meter::new(&self.pair.client);
        for mut client in &self.clients {
            client.write_all(b"lost").expect("write");
        }
        let wanted = self.clients.len() as u64 * times;
        wait::until("data to be sent again", || {
            std::thread::sleep(Duration::from_millis(20));
            meter.get("TcpRetransSegs") >= wanted
        });
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        // A plain close would leave orphans that go on for minutes.
        self.clients.drain(..).chain(self.servers.drain(..)).for_each(tcp::abort);
    }
}

fn connected(listener: &TcpListener, to: SocketAddr) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(to).expect("connect");
    (client, listener.accept().expect("accept").0)
}
