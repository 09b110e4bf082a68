//! Packets that this host itself drops, each on its way.

use std::net::{Ipv4Addr, TcpListener, TcpStream};

use crate::link::{Family, Loss, Pair};
use crate::netns::Netns;
use crate::tcp::{self, Connection, Side};

/// A connection whose packets die.
#[derive(Debug)]
pub struct Dropped {
    /// The side that sends them.
    pub side: Side,
    /// Inode of the network namespace where they die.
    pub netns: u64,
    /// Its sockets, kept open.
    pub held: Vec<TcpStream>,
    /// The listener, likewise.
    pub listener: Option<TcpListener>,
}

/// Data of an open connection, in the sender's OUTPUT: it keeps the data unsent.
pub fn output(pair: &Pair, family: Family) -> Dropped {
    let Connection { client, client_side, server, .. } = Connection::open(pair, family);
    pair.client.refuse_outgoing(&Loss::data());
    tcp::send(&client, 1000);
    let netns = pair.client.inode();
    Dropped { side: client_side, netns, held: vec![client, server], listener: None }
}

/// SYNs, in the INPUT of the server's namespace.
pub fn syn_at_input(pair: &Pair, family: Family) -> Dropped {
    let listener = tcp::listen(&pair.server, family, 1);
    pair.server.filter_incoming(&Loss::all());
    let (client, side) = tcp::start_connect(&pair.client, tcp::local_address(&listener));
    Dropped { side, netns: pair.server.inode(), held: vec![client], listener: Some(listener) }
}

/// Data of an open connection, rejected by the sender's own firewall with a reset.
pub fn rejected(pair: &Pair, family: Family) -> Dropped {
    let Connection { client, client_side, server, .. } = Connection::open(pair, family);
    pair.client.reject_outgoing(&Loss::data());
    tcp::send(&client, 1000);
    assert_eq!(tcp::death(&client), libc::ECONNRESET);
    let netns = pair.client.inode();
    Dropped { side: client_side, netns, held: vec![client, server], listener: None }
}

/// Two hosts with a router between them, each a namespace of its own.
#[derive(Debug)]
pub struct Routed {
    /// 192.0.2.1
    pub client: Netns,
    /// Forwards.
    pub router: Netns,
    /// 192.0.2.130
    pub server: Netns,
}

const ROUTED_SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 130);

impl Routed {
    /// Three new namespaces.
    #[expect(
        clippy::new_without_default,
        reason = "each call makes another network: there is no default one"
    )]
    pub fn new() -> Self {
        let routed = Self { client: Netns::new(), router: Netns::new(), server: Netns::new() };
        routed.router.sysctl("ipv4.ip_forward", 1);
        routed.join(&routed.client, "left", "192.0.2.1", "192.0.2.2");
        routed.join(&routed.server, "right", "192.0.2.130", "192.0.2.129");
        routed
    }

    fn join(&self, host: &Netns, device: &str, address: &str, gateway: &str) {
        let router = &self.router;
        host.command(&format!("ip link add eth0 type veth peer name {device} netns {}", router.path()));
        host.command(&format!("ip addr add {address}/25 dev eth0"));
        host.command("ip link set eth0 up");
        router.command(&format!("ip addr add {gateway}/25 dev {device}"));
        router.command(&format!("ip link set {device} up"));
        host.command(&format!("ip route add default via {gateway}"));
    }

    /// An open connection from end to end.
    pub fn open(&self) -> (TcpStream, TcpStream, TcpListener) {
        let listener = self.server.run(|| TcpListener::bind((ROUTED_SERVER, 0)).expect("listen"));
        let client = tcp::connect(&self.client, tcp::local_address(&listener));
        let (server, _) = listener.accept().expect("accept");
        (client, server, listener)
    }

    /// Data of an open connection, in the router's FORWARD.
    pub fn forward(&self) -> Dropped {
        let (client, server, listener) = self.open();
        let side = Side::of(&self.client, &client);
        let router = &self.router;
        router.command("nft add table ip lab");
        router.command("nft add chain ip lab through { type filter hook forward priority 0 ; }");
        router.command("nft add rule ip lab through meta length > 200 drop");
        tcp::send(&client, 1000);
        Dropped { side, netns: router.inode(), held: vec![client, server], listener: Some(listener) }
    }
}
