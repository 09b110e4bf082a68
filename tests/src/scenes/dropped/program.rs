//! By BPF programs, and a filter of a socket.

use std::fs::File;
use std::os::fd::AsRawFd as _;

use super::{Dropped, data};
use crate::actor::Actor;
use crate::bpf::{At, Dropper};
use crate::link::{Family, Pair};
use crate::pod::Container;
use crate::scenes::actors::Actors;
use crate::tcp;

/// As it leaves, at tc.
pub fn tc_egress(pair: &Pair, family: Family) -> Dropped {
    let host = &pair.client;
    data(pair, family, host, |_| host.run(|| Dropper::attach(At::TcEgress(host.device()))))
}

/// As it arrives at the server, at tc.
pub fn tc_ingress(pair: &Pair, family: Family) -> Dropped {
    arriving(pair, family, At::TcIngress)
}

/// As it arrives at the server, in XDP.
pub fn generic_xdp(pair: &Pair, family: Family) -> Dropped {
    arriving(pair, family, At::GenericXdp)
}

/// The same in the driver.
pub fn driver_xdp(pair: &Pair, family: Family) -> Dropped {
    arriving(pair, family, At::DriverXdp)
}

fn arriving(pair: &Pair, family: Family, at: fn(u32) -> At) -> Dropped {
    let host = &pair.server;
    data(pair, family, host, |_| host.run(|| Dropper::attach(at(host.device()))))
}

/// Whatever comes for the server's socket, by a filter of its own process.
pub fn socket_filter(pair: &Pair, family: Family) -> Dropped {
    data(pair, family, &pair.server, |connection| tcp::take_nothing(&connection.server))
}

/// What a server in a cgroup sends; the reason if there is no way here.
pub fn cgroup_egress(pair: &Pair, family: Family) -> Result<Dropped, String> {
    let container = Container::new()?;
    let start = |netns: &_, arguments: &[&str]| Actor::start_in(netns, &container.procs(), arguments);
    let mut actors = Actors::served(pair, family, start);
    let dropper = {
        let directory = File::open(container.procs().parent().expect("a directory")).expect("open a cgroup");
        Dropper::attach(At::CgroupEgress(directory.as_raw_fd()))
    };
    actors.server.order("send 1000");
    let (side, netns) = (actors.server_side, pair.server.inode());
    Ok(Dropped { side, netns, held: vec![Box::new(actors), Box::new(dropper), Box::new(container)] })
}
