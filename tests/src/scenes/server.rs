//! The server that forks for every connection and closes with unread data: the write-up of DESIGN §1.

use std::io::Read;
use std::net::TcpStream;

use crate::actor::Actor;
use crate::link::{Family, Pair};
use crate::scenes::reset::Reset;
use crate::snmp::Meter;
use crate::tcp::{self, Side};

/// Bytes that the client sends before it reads; the child reads 16.
const SPAM: usize = 64 << 10;

/// What the child reads.
const READ: usize = 16;

/// One connection of the server.
#[derive(Debug)]
pub struct Served {
    /// The reset, sent by the child.
    pub reset: Reset,
    /// The server, which listens.
    pub parent: u32,
    /// Its child, which closed the connection.
    pub child: u32,
    /// Bytes of payload that the client could still read.
    pub delivered: usize,
}

/// Serves `payload` bytes to one client that sends early and reads slowly (`__tcp_close` in `do_exit`).
pub fn fork_per_connection(pair: &Pair, family: Family, payload: usize) -> Served {
    let at = pair.server.socket_address(family, 0).to_string();
    let mut server = Actor::start(&pair.server, &["fork-server", &at, &payload.to_string()]);
    let meter = Meter::new(&pair.server);
    let client = tcp::connect(&pair.client, server.address("listening"));
    let receiver = Side::of(&pair.client, &client);
    let child = child_of(&server.answer("child"));
    tcp::send(&client, SPAM);
    let (delivered, errno) = read_slowly(&client, || meter.get("TcpExtTCPAbortOnClose") > 0);
    let reset = Reset {
        sender: receiver.reversed(&pair.server),
        reason: "TCP_ABORT_ON_CLOSE",
        active: true,
        unread: (SPAM - READ) as u64,
        receiver: Some(receiver),
        errno,
        snmp: meter.read(),
        held: Vec::new(),
    };
    Served { reset, parent: server.pid(), child, delivered }
}

fn child_of(answer: &str) -> u32 {
    let pid = answer.split(' ').next().unwrap_or_default();
    pid.parse().expect("a process id")
}

/// A little at a time and no more than makes the child write on, until it has closed; then the rest.
fn read_slowly(mut client: &TcpStream, closed: impl Fn() -> bool) -> (usize, Option<i32>) {
    let mut buffer = [0; 4096];
    let mut total = 0;
    while !closed() {
        let count = client.read(&mut buffer).expect("payload");
        assert_ne!(count, 0, "a clean end");
        total += count;
    }
    let (rest, errno) = tcp::drain(client);
    (total + rest, errno)
}
