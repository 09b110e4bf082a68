//! Two hosts on one machine: namespaces joined by a veth pair, and ways to lose what passes.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::Deref;
use std::thread;
use std::time::Duration;

use crate::netns::Netns;
use crate::{ethtool, wait};

/// Version of the Internet Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, for tests of everything twice.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Does the same for both, at the same time.
    pub fn each(test: impl Fn(Self) + Sync) {
        thread::scope(|scope| {
            let test = &test;
            for family in Self::ALL {
                // Under the test's own name: a skip or a panic inside says whose it is.
                let builder =
                    thread::Builder::new().name(thread::current().name().unwrap_or("a test").into());
                builder.spawn_scoped(scope, move || test(family)).expect("a thread");
            }
        });
    }

    /// The family of an address.
    pub fn of(address: SocketAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// As the agent writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

/// Device of every host.
const DEVICE: &str = "eth0";

/// One end of a [`Pair`]: a namespace with addresses.
#[derive(Debug)]
pub struct Host {
    netns: Netns,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

impl Deref for Host {
    type Target = Netns;

    fn deref(&self) -> &Netns {
        &self.netns
    }
}

impl Host {
    fn new(number: u8) -> Self {
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into());
        Self { netns: Netns::new(), v4: Ipv4Addr::new(198, 51, 100, number), v6 }
    }

    fn address_device(&self) {
        self.command(&format!("ip addr add {}/24 dev {DEVICE}", self.v4));
        self.command(&format!("ip addr add {}/64 dev {DEVICE} nodad", self.v6));
        self.command(&format!("ip link set {DEVICE} up"));
    }

    /// Index of its device. Equal ones at both ends would make the carrier's coming up no urgent event, to be handled up
    /// to a second later (`linkwatch_urgent_event`).
    pub fn device(&self) -> u32 {
        u32::from(self.v4.octets()[3]) + 10
    }

    fn datagrams(&self, family: Family) -> UdpSocket {
        let socket =
            self.run(|| UdpSocket::bind(self.socket_address(family, 0))).expect("bind a datagram socket");
        socket.set_read_timeout(Some(Duration::from_millis(10))).expect("SO_RCVTIMEO");
        socket
    }

    /// Its address.
    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4.into(),
            Family::V6 => self.v6.into(),
        }
    }

    /// Its address with a port.
    pub fn socket_address(&self, family: Family, port: u16) -> SocketAddr {
        SocketAddr::new(self.address(family), port)
    }

    /// Loses matching TCP segments that arrive, as the path would: their receiver's host takes them for another host's
    /// (`OTHERHOST`), and tells nobody. A sender notices nothing.
    pub fn drop_incoming(&self, loss: &Loss) {
        let hook = format!("type filter hook ingress device {DEVICE} priority 0");
        self.rule("netdev", "incoming", &hook, &format!("{loss} meta pkttype set other"));
    }

    /// Drops matching TCP segments that arrive by a rule of the host's own firewall. A sender notices nothing.
    pub fn filter_incoming(&self, loss: &Loss) {
        self.drop_in("type filter hook input priority 0", "filtered", loss);
    }

    /// Drops matching TCP segments at a hook of the host's own firewall: of IP's, or of its device's.
    pub fn drop_at(&self, hook: &str, loss: &Loss) {
        match hook {
            "ingress" | "egress" => {
                let at = format!("type filter hook {hook} device {DEVICE} priority 0");
                self.rule("netdev", "dropped", &at, &format!("{loss} drop"));
            }
            _ => self.drop_in(&format!("type filter hook {hook} priority 0"), "dropped", loss),
        }
    }

    /// Answers matching TCP segments that arrive as the host's own firewall may: `with icmp type host-unreachable`.
    pub fn reject_incoming(&self, loss: &Loss, with: &str) {
        self.rule("inet", "rejected", "type filter hook input priority 0", &format!("{loss} reject {with}"));
    }

    /// Answers matching TCP segments that leave with a reset of the host's own firewall's making.
    pub fn reject_outgoing(&self, loss: &Loss) {
        self.rule(
            "inet",
            "rejected",
            "type filter hook output priority 0",
            &format!("{loss} reject with tcp reset"),
        );
    }

    /// Refuses matching TCP segments that leave: the host's own TCP gets EPERM (`nf_hook_slow`).
    pub fn refuse_outgoing(&self, loss: &Loss) {
        self.drop_in("type filter hook output priority 0", "outgoing", loss);
    }

    /// Sends what this host sends to `service` to `to`, and back, as a Service's address is translated on a node.
    pub fn translate(&self, service: SocketAddr, to: SocketAddr) {
        self.command(&format!("ip route add {} dev {DEVICE}", service.ip()));
        self.command("nft add table inet lab");
        self.command("nft add chain inet lab services { type nat hook output priority -100 ; }");
        let (address, port) = (service.ip(), service.port());
        self.command(&format!(
            "nft add rule inet lab services ip daddr {address} tcp dport {port} dnat ip to {to}"
        ));
    }

    /// Has matching TCP segments that arrive take a wrong checksum; their sender must have computed one itself.
    pub fn damage_incoming(&self, loss: &Loss) {
        let hook = "type filter hook prerouting priority -300";
        self.rule("inet", "damaged", hook, &format!("{loss} tcp checksum set 1"));
    }

    /// Computes checksums itself, as for a network card that cannot (`ethtool -K eth0 tx off`).
    pub fn without_offload(&self) {
        ethtool::set(self, DEVICE, ethtool::STXCSUM, 0);
    }

    fn drop_in(&self, hook: &str, chain: &str, loss: &Loss) {
        self.rule("inet", chain, hook, &format!("{loss} drop"));
    }

    fn rule(&self, family: &str, chain: &str, hook: &str, rule: &str) {
        self.command(&format!("nft add table {family} lab"));
        self.command(&format!("nft add chain {family} lab {chain} {{ {hook} ; }}"));
        self.command(&format!("nft add rule {family} lab {chain} {rule}"));
    }

    /// Lets everything pass again.
    pub fn pass(&self) {
        for family in ["inet", "netdev"] {
            self.command(&format!("nft add table {family} lab"));
            self.command(&format!("nft flush table {family} lab"));
        }
    }

    /// Takes the device down; the other end loses its carrier.
    pub fn down(&self) {
        self.command(&format!("ip link set {DEVICE} down"));
    }

    /// Brings the device up again.
    pub fn up(&self) {
        self.command(&format!("ip link set {DEVICE} up"));
    }

    /// Sends every segment as a packet of its own, so that one packet lost is one segment lost.
    pub fn unsegmented(&self) {
        self.command(&format!("ip link set {DEVICE} gso_max_segs 1"));
    }

    /// Slows what leaves the host down to `kbit` per second, with a queue that holds it for `latency` ms.
    pub fn slow(&self, kbit: u32, latency: u32) {
        let tbf = format!("tbf rate {kbit}kbit burst 4kb latency {latency}ms");
        self.command(&format!("tc qdisc replace dev {DEVICE} root {tbf}"));
    }

    /// Full speed again; what still queued is lost.
    pub fn fast(&self) {
        self.command(&format!("tc qdisc del dev {DEVICE} root"));
    }
}

/// Which TCP segments are lost: an nftables match, built up.
#[derive(Clone, Debug)]
pub struct Loss(String);

impl Display for Loss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Loss {
    /// All of them. Other protocols pass, so neighbours stay known.
    pub fn all() -> Self {
        Self("meta l4proto tcp".into())
    }

    /// Those that carry enough payload not to be bare acknowledgements.
    pub fn data() -> Self {
        Self::all().and("meta length > 200")
    }

    /// Bare acknowledgements, the third packet of a handshake among them.
    pub fn bare_acks() -> Self {
        Self::all().and("tcp flags & (fin | syn | rst | psh | ack) == ack meta length < 100")
    }

    /// Those that conntrack cannot place.
    pub fn invalid() -> Self {
        Self::all().and("ct state invalid")
    }

    /// Resets.
    pub fn resets() -> Self {
        Self::all().and("tcp flags & rst == rst")
    }

    /// Those to `port` only.
    #[must_use]
    pub fn to_port(self, port: u16) -> Self {
        self.and(&format!("tcp dport {port}"))
    }

    /// One in `n` only.
    #[must_use]
    pub fn one_in(self, n: u32) -> Self {
        self.and(&format!("numgen inc mod {n} == 0"))
    }

    /// The first `n` only (a bucket of `n` that fills by one a day).
    #[must_use]
    pub fn first(self, n: u32) -> Self {
        self.and(&format!("limit rate 1/day burst {n} packets"))
    }

    fn and(self, condition: &str) -> Self {
        Self(format!("{} {condition}", self.0))
    }
}

/// A client's host and a server's host, joined by a cable.
#[derive(Debug)]
pub struct Pair {
    /// 198.51.100.1 and `2001:db8::1`.
    pub client: Host,
    /// 198.51.100.2 and `2001:db8::2`.
    pub server: Host,
}

impl Pair {
    /// Two new namespaces.
    #[expect(clippy::new_without_default, reason = "each call makes another pair: there is no default one")]
    pub fn new() -> Self {
        let pair = Self { client: Host::new(1), server: Host::new(2) };
        let Self { client, server } = &pair;
        let peer = format!("peer name {DEVICE} index {} netns {}", server.device(), server.path());
        client.command(&format!("ip link add {DEVICE} index {} type veth {peer}", client.device()));
        pair.client.address_device();
        pair.server.address_device();
        Family::each(|family| pair.greet(family));
        pair
    }

    /// Waits until datagrams pass both ways, so that the neighbours are known and no handshake waits for
    /// them: its round trip time decides the first RTO.
    fn greet(&self, family: Family) {
        let [client, server] = [&self.client, &self.server].map(|host| host.datagrams(family));
        for (from, to) in [(&client, &server), (&server, &client)] {
            let address = to.local_addr().expect("local address");
            wait::until("the link to come up", || {
                from.send_to(b"hello", address).expect("send a datagram");
                to.recv(&mut [0; 5]).is_ok()
            });
        }
    }

    /// The same, with tail loss probes off on both sides, so that the first resend is a timeout's
    /// (`tcp_schedule_loss_probe` asks `tcp_early_retrans`).
    pub fn without_probes() -> Self {
        let pair = Self::new();
        pair.client.sysctl("ipv4.tcp_early_retrans", 0);
        pair.server.sysctl("ipv4.tcp_early_retrans", 0);
        pair
    }
}
