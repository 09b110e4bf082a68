//! Resets that reach a client, each made in another place; and ways that are gone.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::link::{Family, Loss, Pair};
use crate::netns::Netns;
use crate::raw::{Forger, Segment, flags};
use crate::scenes::dropped::path::Routed;
use crate::tcp::{self, Connection, Side};

/// A client that was reset.
#[derive(Debug)]
pub struct Reset {
    /// The client.
    pub side: Side,
    /// What must live on.
    pub held: Vec<TcpStream>,
}

/// By the server's process, one cable away; `unread` bytes of it had come before.
pub fn by_peer(pair: &Pair, family: Family, unread: usize) -> Reset {
    let Connection { client, client_side, server, .. } = Connection::open(pair, family);
    abort(client, client_side, server, unread)
}

/// By the server's process, behind a router.
pub fn behind_router(routed: &Routed, unread: usize) -> Reset {
    let (client, server, _listener) = routed.open();
    let side = Side::of(&routed.client, &client);
    abort(client, side, server, unread)
}

fn abort(client: TcpStream, side: Side, server: TcpStream, unread: usize) -> Reset {
    if unread > 0 {
        tcp::send(&server, unread);
        tcp::readable(&client, unread);
    }
    tcp::abort(server);
    assert_eq!(tcp::death(&client), libc::ECONNRESET);
    Reset { side, held: vec![client] }
}

/// By the router's firewall, after data of the server had come through it.
pub fn by_routers_firewall(routed: &Routed) -> Reset {
    let (client, server, _listener) = routed.open();
    let side = Side::of(&routed.client, &client);
    tcp::send(&server, 100);
    tcp::readable(&client, 100);
    let run = |line| routed.router.command(line);
    run("nft add table ip lab");
    run("nft add chain ip lab through { type filter hook forward priority 0 ; }");
    run("nft add rule ip lab through meta length > 200 ip protocol tcp reject with tcp reset");
    tcp::send(&client, 1000);
    assert_eq!(tcp::death(&client), libc::ECONNRESET);
    Reset { side, held: vec![client, server] }
}

/// By something in the router that no hook of the kernel sees, as a middlebox does; data of the server had come before.
pub fn by_middlebox(routed: &Routed) -> Reset {
    let (client, server, _listener) = routed.open();
    let side = Side::of(&routed.client, &client);
    tcp::send(&server, 100);
    tcp::readable(&client, 100);
    let seq = tcp::next_seq(&server);
    let forger = Forger::in_the_name_of(&routed.router, side.remote, side.local);
    forger.send_whole(&Segment { flags: flags::RST, seq, ..Segment::default() }, 64);
    assert_eq!(tcp::death(&client), libc::ECONNRESET);
    Reset { side, held: vec![client, server] }
}

/// A connect to a port that nobody has, behind a router.
pub fn refused_behind_router(routed: &Routed) -> Reset {
    // Its socket never listens: see `tcp::closed_port`.
    let remote = tcp::bound_address(&bound(&routed.server, Ipv4Addr::new(192, 0, 2, 130)));
    let client = bound(&routed.client, Ipv4Addr::new(192, 0, 2, 1));
    let local = tcp::bound_address(&client);
    let error = client.connect(&remote.into()).expect_err("nobody listens");
    assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
    Reset { side: Side { netns: routed.client.inode(), local, remote }, held: Vec::new() }
}

fn bound(netns: &Netns, to: Ipv4Addr) -> Socket {
    let socket = netns.run(|| Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket"));
    socket.bind(&SocketAddr::from((to, 0)).into()).expect("bind");
    socket
}

/// Data in flight, lost behind the sender's back, whose address is then taken away: no resend can be made.
pub fn address_gone_in_flight(pair: &Pair) -> Reset {
    let Connection { client, client_side, server, .. } = Connection::open(pair, Family::V4);
    pair.server.drop_incoming(&Loss::data());
    tcp::send(&client, 1000);
    pair.client.command(&format!("ip address del {}/24 dev eth0", client_side.local.ip()));
    Reset { side: client_side, held: vec![client, server] }
}

/// The same loss, and all else as it was.
pub fn lost_in_flight(pair: &Pair) -> Reset {
    let Connection { client, client_side, server, .. } = Connection::open(pair, Family::V4);
    pair.server.drop_incoming(&Loss::data());
    tcp::send(&client, 1000);
    Reset { side: client_side, held: vec![client, server] }
}

/// The route is gone before there is anything to send.
pub fn route_gone_then_data(pair: &Pair) -> Reset {
    let Connection { client, client_side, server, .. } = Connection::open(pair, Family::V4);
    pair.client.command("ip route del 198.51.100.0/24");
    tcp::send(&client, 1000);
    Reset { side: client_side, held: vec![client, server] }
}

/// The same, with nothing but the FIN to send.
pub fn route_gone_then_close(pair: &Pair) -> Reset {
    let Connection { client, client_side, server, .. } = Connection::open(pair, Family::V4);
    pair.client.command("ip route del 198.51.100.0/24");
    drop(client);
    Reset { side: client_side, held: vec![server] }
}
