//! A pair of hosts that the agent watches.

use std::net::Shutdown;

use crate::agent::agent;
use crate::agent::event::Event;
use crate::agent::tail::Tail;
use crate::link::{Family, Pair};
use crate::tcp::{self, Connection, Side};

/// A [`Pair`] with one reader of the agent's events for each host.
#[derive(Debug)]
pub struct Watched {
    /// The hosts.
    pub pair: Pair,
    client: Tail,
    server: Tail,
}

impl Watched {
    /// Follows the hosts of `pair` from now on.
    pub fn new(pair: Pair) -> Self {
        let [client, server] = [&pair.client, &pair.server].map(|host| agent().tail(host));
        Self { pair, client, server }
    }

    /// The events of the host that `side` is on.
    pub fn tail(&self, side: Side) -> &Tail {
        if side.netns == self.pair.client.inode() { &self.client } else { &self.server }
    }

    /// All events of the host that `side` is on, up to now: a connection that ends cleanly marks the place.
    pub fn so_far(&self, side: Side) -> Vec<Event> {
        self.pair.client.pass();
        self.pair.server.pass();
        let mark = self.mark(side);
        let mut events = self.tail(side).until("the mark", |event| event.is("sock_destroyed", mark));
        events.retain(|event| !event.is_of(mark));
        events
    }

    fn mark(&self, side: Side) -> Side {
        let Connection { client, server, client_side, server_side } =
            Connection::open(&self.pair, Family::V4);
        client.shutdown(Shutdown::Write).expect("shutdown");
        assert_eq!(tcp::drain(&server), (0, None));
        drop(server);
        assert_eq!(tcp::drain(&client), (0, None));
        if side.netns == client_side.netns { client_side } else { server_side }
    }
}

/// Those called `name`.
pub fn named<'a>(events: &'a [Event], name: &str) -> Vec<&'a Event> {
    events.iter().filter(|event| event.name() == name).collect()
}

/// Asserts what every event of a socket of this very process shows, beside its addresses.
pub fn owned_by_this_process(event: &Event) {
    assert_eq!(event.number("/process/pid"), u64::from(std::process::id()), "{event:?}");
}
