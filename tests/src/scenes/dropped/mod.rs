//! Packets that this host itself drops, each on its way: here by its firewall.

use std::fmt::Debug;

use crate::link::{Family, Host, Loss, Pair};
use crate::tcp::{self, Connection, Side};

pub mod device;
pub mod path;
pub mod program;

/// A connection whose packets die.
#[derive(Debug)]
pub struct Dropped {
    /// The side that sends them.
    pub side: Side,
    /// Inode of the network namespace where they die.
    pub netns: u64,
    /// Its sockets, and whatever else must last.
    pub held: Vec<Held>,
}

/// Ends with the scene.
pub type Held = Box<dyn Debug>;

/// Data of an open connection, after `set` has seen to it that it dies at `place`.
fn data<T: Debug + 'static>(
    pair: &Pair,
    family: Family,
    place: &Host,
    set: impl FnOnce(&Connection) -> T,
) -> Dropped {
    let connection = Connection::open(pair, family);
    let held = set(&connection);
    tcp::send(&connection.client, 1000);
    let side = connection.client_side;
    Dropped { side, netns: place.inode(), held: vec![Box::new(connection), Box::new(held)] }
}

/// Data of an open connection, in the sender's OUTPUT: it keeps the data unsent.
pub fn output(pair: &Pair, family: Family) -> Dropped {
    data(pair, family, &pair.client, |_| pair.client.refuse_outgoing(&Loss::data()))
}

/// The same by iptables, whose verdict another function carries out.
pub fn output_of_iptables(pair: &Pair, family: Family) -> Dropped {
    let iptables = match family {
        Family::V4 => "iptables-legacy",
        Family::V6 => "ip6tables-legacy",
    };
    data(pair, family, &pair.client, |_| {
        pair.client.command(&format!("{iptables} -A OUTPUT -p tcp -m length --length 200:65535 -j DROP"));
    })
}

/// What conntrack calls invalid, at the server: it has forgotten the connection and takes nobody in the middle of one.
pub fn invalid(pair: &Pair, family: Family) -> Dropped {
    data(pair, family, &pair.server, |_| {
        pair.server.sysctl("netfilter.nf_conntrack_tcp_loose", 0);
        pair.server.filter_incoming(&Loss::invalid());
    })
}

/// SYNs, in the INPUT of the server's namespace.
pub fn syn_at_input(pair: &Pair, family: Family) -> Dropped {
    let listener = tcp::listen(&pair.server, family, 1);
    pair.server.filter_incoming(&Loss::all());
    let (client, side) = tcp::start_connect(&pair.client, tcp::local_address(&listener));
    Dropped { side, netns: pair.server.inode(), held: vec![Box::new(client), Box::new(listener)] }
}

/// Data of an open connection, at a hook that the client's packets pass as they leave, or the server's as they arrive.
pub fn at_hook(pair: &Pair, family: Family, hook: &str) -> Dropped {
    let leaves = ["output", "postrouting", "egress"].contains(&hook);
    let host = if leaves { &pair.client } else { &pair.server };
    data(pair, family, host, |_| host.drop_at(hook, &Loss::data()))
}

/// A SYN, rejected by the firewall of the server's namespace: `with` what, if not with its usual ICMP message.
pub fn rejected_at_input(pair: &Pair, family: Family, with: &str) -> Dropped {
    let listener = tcp::listen(&pair.server, family, 1);
    pair.server.reject_incoming(&Loss::all(), with);
    let (client, side) = tcp::start_connect(&pair.client, tcp::local_address(&listener));
    Dropped { side, netns: pair.server.inode(), held: vec![Box::new(client), Box::new(listener)] }
}

/// Data of an open connection, rejected by the sender's own firewall with a reset.
pub fn rejected(pair: &Pair, family: Family) -> Dropped {
    let Connection { client, client_side, server, .. } = Connection::open(pair, family);
    pair.client.reject_outgoing(&Loss::data());
    tcp::send(&client, 1000);
    assert_eq!(tcp::death(&client), libc::ECONNRESET);
    let netns = pair.client.inode();
    Dropped { side: client_side, netns, held: vec![Box::new(client), Box::new(server)] }
}
