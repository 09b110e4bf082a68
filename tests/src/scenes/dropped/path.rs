//! On the way between two namespaces of this host: in a router or a bridge that is a namespace, too, and behind the
//! router's address translation.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use super::Dropped;
use crate::netns::Netns;
use crate::tcp::{self, Side};
use crate::wait;

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

/// What a router changes of a connection's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// Where they go to: a Service's address.
    Destination,
    /// Where they come from, address and port.
    Source,
    /// Where they come from, to the router's own address.
    Masquerade,
    /// Both, as of a node port.
    Both,
}

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const ROUTED_SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 130);
const BRIDGED_SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

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
        greet((&routed.client, CLIENT), (&routed.server, ROUTED_SERVER));
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
        self.data(None, &self.router, || drop_long(&self.router, "ip", "forward"))
    }

    /// Data of an open connection, for which the router gets a route that leads nowhere: `blackhole` or `unreachable`.
    pub fn dead_route(&self, kind: &str) -> Dropped {
        self.data(None, &self.router, || {
            self.router.command(&format!("ip route add {kind} {ROUTED_SERVER}"));
        })
    }

    /// Data of an open connection whose addresses the router translates, in the INPUT of the server.
    pub fn translated(&self, nat: Nat) -> Dropped {
        self.data(Some(nat), &self.server, || drop_long(&self.server, "ip", "input"))
    }

    fn data(&self, nat: Option<Nat>, place: &Netns, set: impl FnOnce()) -> Dropped {
        let listener = self.server.run(|| TcpListener::bind((ROUTED_SERVER, 0)).expect("listen"));
        let to = tcp::local_address(&listener);
        let to = nat.map_or(to, |nat| self.translate(nat, to));
        lost(&self.client, place, listener, to, set)
    }

    /// Where a client connects to who wants `to`.
    fn translate(&self, nat: Nat, to: SocketAddr) -> SocketAddr {
        let router = &self.router;
        router.command("nft add table ip nat");
        router.command("nft add chain ip nat before { type nat hook prerouting priority -100 ; }");
        router.command("nft add chain ip nat after { type nat hook postrouting priority 100 ; }");
        let (source, goes_to_router) = match nat {
            Nat::Destination => (None, true),
            Nat::Source => (Some("snat to 192.0.2.129:5000-5009"), false),
            Nat::Masquerade => (Some("masquerade"), false),
            Nat::Both => (Some("masquerade"), true),
        };
        if let Some(source) = source {
            router.command(&format!("nft add rule ip nat after oifname right meta l4proto tcp {source}"));
        }
        let service = SocketAddr::new(ROUTER.into(), to.port());
        let rule = format!("ip daddr {ROUTER} tcp dport {} dnat to {to}", to.port());
        if goes_to_router {
            router.command(&format!("nft add rule ip nat before {rule}"));
        }
        if goes_to_router { service } else { to }
    }
}

/// Two hosts with a bridge between them, each a namespace of its own.
#[derive(Debug)]
pub struct Bridged {
    /// 192.0.2.1
    pub client: Netns,
    /// Has no address.
    pub bridge: Netns,
    /// 192.0.2.2
    pub server: Netns,
}

impl Bridged {
    /// Three new namespaces.
    #[expect(
        clippy::new_without_default,
        reason = "each call makes another network: there is no default one"
    )]
    pub fn new() -> Self {
        let bridged = Self { client: Netns::new(), bridge: Netns::new(), server: Netns::new() };
        bridged.bridge.command("ip link add br0 type bridge");
        bridged.bridge.command("ip link set br0 up");
        bridged.join(&bridged.client, "left", "192.0.2.1");
        bridged.join(&bridged.server, "right", "192.0.2.2");
        greet((&bridged.client, CLIENT), (&bridged.server, BRIDGED_SERVER));
        bridged
    }

    fn join(&self, host: &Netns, port: &str, address: &str) {
        let bridge = &self.bridge;
        host.command(&format!("ip link add eth0 type veth peer name {port} netns {}", bridge.path()));
        host.command(&format!("ip addr add {address}/24 dev eth0"));
        host.command("ip link set eth0 up");
        bridge.command(&format!("ip link set {port} master br0 up"));
    }

    /// Data of an open connection, at a hook of the bridge's own: `prerouting`, `forward` or `postrouting`.
    pub fn policy(&self, hook: &str) -> Dropped {
        self.data(|| drop_long(&self.bridge, "bridge", hook))
    }

    /// The same in FORWARD of the firewall that the bridge asks in its place (`br_netfilter`).
    pub fn forward(&self) -> Dropped {
        self.data(|| {
            self.bridge.sysctl("bridge.bridge-nf-call-iptables", 1);
            drop_long(&self.bridge, "ip", "forward");
        })
    }

    fn data(&self, set: impl FnOnce()) -> Dropped {
        let listener = self.server.run(|| TcpListener::bind((BRIDGED_SERVER, 0)).expect("listen"));
        let to = tcp::local_address(&listener);
        lost(&self.client, &self.bridge, listener, to, set)
    }
}

/// Waits until datagrams pass both ways: devices that were just made are not up at once, nor are neighbours known.
fn greet(one: (&Netns, Ipv4Addr), other: (&Netns, Ipv4Addr)) {
    let [one, other] = [one, other].map(|(netns, address)| {
        let socket = netns.run(|| UdpSocket::bind((address, 0))).expect("bind a datagram socket");
        socket.set_read_timeout(Some(Duration::from_millis(10))).expect("SO_RCVTIMEO");
        socket
    });
    for (from, to) in [(&one, &other), (&other, &one)] {
        let address = to.local_addr().expect("local address");
        wait::until("the way to open", || {
            from.send_to(b"hello", address).is_ok() && to.recv(&mut [0; 5]).is_ok()
        });
    }
}

/// Connects, and loses what is sent at `place`, to which `set` sees.
fn lost(client: &Netns, place: &Netns, listener: TcpListener, to: SocketAddr, set: impl FnOnce()) -> Dropped {
    let stream: TcpStream = tcp::connect(client, to);
    let (server, _) = listener.accept().expect("accept");
    set();
    tcp::send(&stream, 1000);
    let side = Side::of(client, &stream);
    Dropped { side, netns: place.inode(), held: vec![Box::new(stream), Box::new(server), Box::new(listener)] }
}

fn drop_long(netns: &Netns, family: &str, hook: &str) {
    let chain = format!("{{ type filter hook {hook} priority 0 ; }}");
    netns.command(&format!("nft add table {family} lab"));
    netns.command(&format!("nft add chain {family} lab through {chain}"));
    netns.command(&format!("nft add rule {family} lab through meta length > 200 drop"));
}
