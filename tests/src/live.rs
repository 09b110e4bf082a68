//! A pair of hosts that the agent watches.

use std::thread;

use crate::agent::agent;
use crate::agent::event::Event;
use crate::agent::tail::Tail;
use crate::link::{Family, Pair};
use crate::tcp::{self, Side};
use crate::witness;

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
        if self.is_client(side) { &self.client } else { &self.server }
    }

    /// All events of the host that `side` is on, up to now: a listener that opens marks the place.
    pub fn so_far(&self, side: Side) -> Vec<Event> {
        let host = if self.is_client(side) { &self.pair.client } else { &self.pair.server };
        let listener = tcp::listen(host, Family::V4, 1);
        let mark = tcp::local_address(&listener);
        let is_mark = |event: &Event| event.name() == "state_changed" && event.local() == Some(mark);
        let mut events = self.tail(side).until("the mark", is_mark);
        events.pop();
        events
    }

    /// Those of `side` alone.
    pub fn of(&self, side: Side) -> Vec<Event> {
        self.so_far(side).into_iter().filter(|event| event.is_of(side)).collect()
    }

    /// The latest resend of `side`, after a scene that had one.
    pub fn resend(&self, side: Side) -> Result<Event, Silent> {
        self.of(side).into_iter().rfind(|event| event.name() == "retransmit").ok_or(Silent)
    }

    fn is_client(&self, side: Side) -> bool {
        side.netns == self.pair.client.inode()
    }
}

/// The kernel counted what nobody reported.
#[derive(Debug)]
pub struct Silent;

/// Tests what timers do. Silence and whatever else fails is a failure, unless the kernel is seen to have run no program
/// for an event ([`Witnesses::insist`](crate::witness::Witnesses::insist)).
pub fn insist(test: impl FnOnce() -> Result<(), Silent>) {
    witness::of_agent().insist(&name(), || {
        test().unwrap_or_else(|Silent| panic!("untold, though the kernel ran the programs for every event"));
    });
}

/// The test's name, which the harness gives to its thread.
pub fn name() -> String {
    thread::current().name().unwrap_or("a test").to_owned()
}

/// The same for both families, at the same time.
pub fn each(test: impl Fn(Family) -> Result<(), Silent> + Sync) {
    Family::each(|family| insist(|| test(family)));
}

/// Those called `name`.
pub fn named<'a>(events: &'a [Event], name: &str) -> Vec<&'a Event> {
    events.iter().filter(|event| event.name() == name).collect()
}

/// Asserts what every event of a socket of this very process shows, beside its addresses.
pub fn owned_by_this_process(event: &Event) {
    assert_eq!(event.number("/process/pid"), u64::from(std::process::id()), "{event:?}");
}
