//! The server that forks for every connection and closes with unread data: the write-up of DESIGN §1.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::actor::Actor;
use crate::link::{Family, Pair};
use crate::scenes::reset::Reset;
use crate::snmp::Meter;
use crate::tcp::{self, Side};
use crate::wait;

/// Bytes that the client sends before it reads; the child reads 16.
const SPAM: usize = 64 << 10;

/// What the child reads.
const READ: usize = 16;

/// What the client leaves unread for as long as the child writes: more than its own buffer takes, so that
/// some of it is lost; less than the child's send buffer, so that the child gets done.
const HELD_BACK: usize = 32 << 10;

/// SO_RCVBUF of the client.
const BUFFER: usize = 8 << 10;

/// Looks without a change after which a transfer rests: more than a retransmission timeout.
const REST: usize = 250;

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
    /// Bytes that the child had not read when it closed (FIONREAD).
    pub unread: usize,
    /// Bytes that the client had not acknowledged by then (TIOCOUTQ).
    pub unacknowledged: usize,
}

/// Serves `payload` bytes to one client that sends early and reads slowly (`__tcp_close` in `do_exit`).
pub fn fork_per_connection(pair: &Pair, family: Family, payload: usize) -> Served {
    let at = pair.server.socket_address(family, 0).to_string();
    let mut server = Actor::start(&pair.server, &["fork-server", &at, &payload.to_string()]);
    let meter = Meter::new(&pair.server);
    let client = connect(pair, server.address("listening"));
    let receiver = Side::of(&pair.client, &client);
    let child = child_of(&server.answer("child"));
    tcp::send(&client, SPAM);
    read(&client, payload - HELD_BACK);
    wait::until("the child to have written all", || is_stopped(child));
    rests(&client);
    kill(Pid::from_raw(child.cast_signed()), Signal::SIGCONT).expect("continue the child");
    let (unread, unacknowledged) = queues(&server.answer("closing"));
    meter.reach("TcpExtTCPAbortOnClose", 1);
    let (left, errno) = tcp::drain(&client);
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
    Served {
        reset,
        parent: server.pid(),
        child,
        delivered: payload - HELD_BACK + left,
        unread,
        unacknowledged,
    }
}

fn child_of(answer: &str) -> u32 {
    let pid = answer.split(' ').next().unwrap_or_default();
    pid.parse().expect("a process id")
}

fn queues(answer: &str) -> (usize, usize) {
    let (unread, unacknowledged) = answer.split_once(' ').expect("two numbers");
    (unread.parse().expect("FIONREAD"), unacknowledged.parse().expect("TIOCOUTQ"))
}

fn connect(pair: &Pair, to: SocketAddr) -> TcpStream {
    let socket = tcp::bound(&pair.client, Family::of(to));
    socket.set_recv_buffer_size(BUFFER).expect("SO_RCVBUF");
    socket.connect(&to.into()).expect("connect");
    socket.into()
}

fn read(mut client: &TcpStream, count: usize) {
    client.read_exact(&mut vec![0; count]).expect("payload");
}

/// Whether a process is stopped by a signal: `T` after its name in `/proc/PID/stat`.
fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the state of the child");
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

/// Waits until nothing arrives any more.
fn rests(client: &TcpStream) {
    let (mut before, mut looks) = (0, 0);
    wait::until("the transfer to rest", || {
        let now = tcp::unread(client);
        looks = if now == before { looks + 1 } else { 0 };
        before = now;
        looks == REST
    });
}
