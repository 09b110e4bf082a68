//! A server that forks a child for every connection and keeps it, and a connection that is passed on.

use std::net::{SocketAddr, TcpStream};

use crate::actor::Actor;
use crate::link::{Family, Pair};
use crate::tcp::{self, Side};

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

    /// The first `count` clients go, and with them their children.
    pub fn hang_up(&mut self, count: usize) {
        self.clients.drain(..count);
        self.children.drain(..count);
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

/// `PID ADDRESS`
fn pid_of(answer: &str) -> u32 {
    answer.split(' ').next().and_then(|pid| pid.parse().ok()).expect("a process id")
}
