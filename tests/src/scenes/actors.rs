//! Connections between processes of their own, for who owns what.

use crate::actor::Actor;
use crate::link::{Family, Loss, Pair};
use crate::netns::Netns;
use crate::snmp::Meter;
use crate::tcp::Side;
use crate::wait;

/// Two processes, connected.
#[derive(Debug)]
pub struct Actors {
    /// The one that connected, at the client.
    pub client: Actor,
    /// The one that accepted, at the server.
    pub server: Actor,
    /// As the client's kernel sees it.
    pub client_side: Side,
    /// As the server's kernel sees it.
    pub server_side: Side,
}

impl Actors {
    /// Starts and connects them.
    pub fn connected(pair: &Pair, family: Family) -> Self {
        Self::served(pair, family, Actor::start)
    }

    /// The same with a server that `start` starts.
    pub fn served(pair: &Pair, family: Family, start: impl FnOnce(&Netns, &[&str]) -> Actor) -> Self {
        let at = pair.server.socket_address(family, 0).to_string();
        let mut server = start(&pair.server, &["accept", &at]);
        let remote = server.address("listening");
        let mut client = Actor::start(&pair.client, &["connect", &remote.to_string()]);
        let local = client.address("connected");
        assert_eq!(server.address("accepted"), local);
        let client_side = Side { netns: pair.client.inode(), local, remote };
        Self { client, server, client_side, server_side: client_side.reversed(&pair.server) }
    }

    /// The client's data is lost once, so its timer sends it again in interrupt context, where any
    /// process may run.
    pub fn client_resends(&mut self, pair: &Pair) {
        let meter = Meter::new(&pair.client);
        pair.server.drop_incoming(&Loss::data().first(1));
        self.client.order("send 1000");
        self.server.order("receive 1000");
        pair.server.pass();
        assert_eq!(meter.get("TcpRetransSegs"), 1);
    }

    /// The same from the process that accepted.
    pub fn server_resends(&mut self, pair: &Pair) {
        let meter = Meter::new(&pair.server);
        pair.client.drop_incoming(&Loss::data().first(1));
        self.server.order("send 1000");
        self.client.order("receive 1000");
        pair.client.pass();
        assert_eq!(meter.get("TcpRetransSegs"), 1);
    }

    /// The server's process is killed with `unread` bytes unread: the kernel closes for it, after
    /// `sched_process_exit` (`exit_files`). Returns the process id.
    pub fn server_is_killed(self, pair: &Pair, unread: usize) -> u32 {
        self.server_ends(pair, unread, Actor::kill)
    }

    /// The same where `end` ends it.
    pub fn server_ends(mut self, pair: &Pair, unread: usize, end: impl FnOnce(Actor)) -> u32 {
        let meter = Meter::new(&pair.server);
        self.client.order(&format!("send {unread}"));
        wait::until("the data to arrive", || meter.get("TcpInSegs") > 0);
        let pid = self.server.pid();
        end(self.server);
        meter.reach("TcpExtTCPAbortOnClose", 1);
        pid
    }
}
