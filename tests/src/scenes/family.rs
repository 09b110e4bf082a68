//! A server that forks a child for every connection and keeps it, and a connection that is passed on.

use std::fs;
use std::net::{SocketAddr, TcpStream};

use crate::actor::Actor;
use crate::link::{Family, Pair};
use crate::tcp::{self, Side};
use crate::wait;

/// The server, and its clients.
#[derive(Debug)]
pub struct Forking {
    server: Actor,
    at: SocketAddr,
    /// In the order in which they connected, which is that of the children.
    pub clients: Vec<TcpStream>,
    /// Process ids of the children.
    pub children: Vec<u32>,
}

impl Forking {
    /// Starts it at the server's host.
    pub fn start(pair: &Pair, family: Family) -> Self {
        let at = pair.server.socket_address(family, 0).to_string();
        let mut server = Actor::start(&pair.server, &["fork-holders", &at]);
        let at = server.address("listening");
        Self { server, at, clients: Vec::new(), children: Vec::new() }
    }

    /// Connects `count` clients, each of which gets a child.
    pub fn serve(&mut self, pair: &Pair, count: usize) {
        for _ in 0..count {
            self.clients.push(tcp::connect(&pair.client, self.at));
            self.children.push(pid_of(&self.server.answer("child")));
        }
    }

    /// Each client sends `count` bytes, which nobody reads.
    pub fn send_all(&self, pair: &Pair, count: usize) {
        self.clients.iter().for_each(|client| tcp::send(client, count));
        let arrived = || skmem(pair, self.at.port(), 'r') >= (count * self.clients.len()) as u64;
        wait::until("the data to arrive", arrived);
    }

    /// The first `count` clients go; returns when their children have ended.
    pub fn hang_up(&mut self, count: usize) {
        self.clients.drain(..count);
        let children: Vec<_> = self.children.drain(..count).collect();
        wait::until("children to end", || children.iter().all(|pid| has_ended(*pid)));
    }

    /// Process id of the server.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.at
    }

    /// A connection as the server's kernel sees it.
    pub fn side(&self, pair: &Pair, client: usize) -> Side {
        Side::of(&pair.client, &self.clients[client]).reversed(&pair.server)
    }
}

/// Whether it is gone, or waits for its parent to collect its exit status.
fn has_ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

/// Sum of one number of `skmem:(r0,rb131072,t0,...)` of all connections with this local port, as ss has it.
pub fn skmem(pair: &Pair, port: u16, letter: char) -> u64 {
    let text = pair.server.command(&format!("ss -tmnH sport = :{port}"));
    let value = |numbers: &str| {
        let mut parts = numbers.split(',').filter_map(|part| part.strip_prefix(letter));
        // `r` is followed by a digit, `rb` is not it.
        parts.find_map(|rest| rest.parse::<u64>().ok())
    };
    let all = text.match_indices("skmem:(").filter_map(|(at, word)| {
        text[at + word.len()..].split_once(')').map(|(numbers, _)| value(numbers).expect("a number of skmem"))
    });
    all.sum()
}

/// `PID ADDRESS`
fn pid_of(answer: &str) -> u32 {
    answer.split(' ').next().and_then(|pid| pid.parse().ok()).expect("a process id")
}
