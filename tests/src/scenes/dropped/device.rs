//! By what lies around the firewall: routes, neighbours, queues, checksums and keys.

use std::os::fd::AsRawFd as _;

use super::{Dropped, data};
use crate::link::{Family, Loss, Pair};
use crate::tcp::{self, Connection};

/// The client's route goes.
pub fn no_route(pair: &Pair, family: Family) -> Dropped {
    let network = match family {
        Family::V4 => "198.51.100.0/24",
        Family::V6 => "2001:db8::/64",
    };
    data(pair, family, &pair.client, |_| {
        pair.client.command(&format!("ip route del {network} dev eth0"));
    })
}

/// The client gets a route that leads nowhere: `blackhole` or `unreachable`.
pub fn dead_route(pair: &Pair, family: Family, kind: &str) -> Dropped {
    let server = pair.server.address(family);
    data(pair, family, &pair.client, |_| {
        pair.client.command(&format!("ip route add {kind} {server}"));
    })
}

/// A connect() to a neighbour that nobody is.
pub fn nobody(pair: &Pair, family: Family) -> Dropped {
    let nobody = match family {
        Family::V4 => "198.51.100.77:8000",
        Family::V6 => "[2001:db8::77]:8000",
    };
    let (client, side) = tcp::start_connect(&pair.client, nobody.parse().expect("an address"));
    Dropped { side, netns: pair.client.inode(), held: vec![Box::new(client)] }
}

/// The server loses its addresses, and the client forgets where it was.
pub fn gone_neighbour(pair: &Pair, family: Family) -> Dropped {
    data(pair, family, &pair.client, |_| {
        pair.server.command("ip addr flush dev eth0");
        pair.client.command("ip neigh flush dev eth0");
    })
}

/// The server would answer by another device than the one that the data comes by.
pub fn other_way_back(pair: &Pair) -> Dropped {
    let client = pair.client.address(Family::V4);
    data(pair, Family::V4, &pair.server, |_| {
        pair.server.sysctl("ipv4.conf.all.rp_filter", 1);
        pair.server.command(&format!("ip route add {client} dev lo"));
    })
}

/// More data than the queue of the client's device has room for, and it sends a packet in a minute.
pub fn full_queue(pair: &Pair, family: Family) -> Dropped {
    let connection = Connection::open(pair, family);
    pair.client.unsegmented();
    pair.client.command("tc qdisc replace dev eth0 root tbf rate 200bit burst 1600 limit 3200");
    tcp::fill(&connection.client);
    let side = connection.client_side;
    Dropped { side, netns: pair.client.inode(), held: vec![Box::new(connection)] }
}

/// The data arrives with a wrong checksum.
pub fn damaged(pair: &Pair, family: Family) -> Dropped {
    data(pair, family, &pair.server, |_| {
        pair.client.without_offload();
        pair.server.damage_incoming(&Loss::data());
    })
}

/// A connect() whose segments are signed with another key than the server's.
pub fn other_key(pair: &Pair, family: Family) -> Dropped {
    let listener = tcp::listen(&pair.server, family, 1);
    let client = tcp::bound(&pair.client, family);
    let (from, to) = (tcp::bound_address(&client), tcp::local_address(&listener));
    tcp::sign(listener.as_raw_fd(), from, "the server's");
    tcp::sign(client.as_raw_fd(), to, "the client's");
    let (client, side) = tcp::start(&pair.client, client, to);
    Dropped { side, netns: pair.server.inode(), held: vec![Box::new(client), Box::new(listener)] }
}
