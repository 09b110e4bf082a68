//! Whose sockets they are in a cluster: cgroups with the paths that container runtimes make.

use std::net::TcpListener;

use tests::actor::Actor;
use tests::link::{Family, Pair};
use tests::live::Watched;
use tests::pod::Container;
use tests::skip::skip;
use tests::tcp::{self, Side};

/// A connection from inside a container to a listener outside.
struct Inside {
    watched: Watched,
    client: Actor,
    side: Side,
    /// Open, or its end would reset the connection first.
    _listener: TcpListener,
}

impl Inside {
    fn connected(container: &Container) -> Self {
        let watched = Watched::new(Pair::new());
        let pair = &watched.pair;
        let listener = tcp::listen(&pair.server, Family::V4, 1);
        let remote = tcp::local_address(&listener);
        let mut client =
            Actor::start_in(&pair.client, container, &["connect", &remote.to_string(), "podded"]);
        let local = client.address("connected");
        let side = Side { netns: pair.client.inode(), local, remote };
        Self { watched, client, side, _listener: listener }
    }

    /// `SO_LINGER` 0 and close: a reset without any timer.
    fn aborted(&mut self) -> tests::agent::event::Event {
        self.client.order("abort");
        let tail = self.watched.tail(self.side);
        tail.wait_for("the reset", |event| event.is("reset_sent", self.side))
    }
}

fn container(test: &str) -> Option<Container> {
    Container::new().map_err(|reason| skip(test, &reason)).ok()
}

#[test]
fn the_cgroup_id_of_a_socket_is_the_inode_of_its_directory() {
    let Some(container) = container("the_cgroup_id_of_a_socket_is_the_inode_of_its_directory") else {
        return;
    };
    let told = Inside::connected(&container).aborted();
    assert_eq!(told.number("/cgroup"), container.inode(), "{told:?}");
}
