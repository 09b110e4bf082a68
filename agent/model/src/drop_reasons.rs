//! What reasons of drops mean that have no cause of their own, and what to look at (include/net/dropreason-core.h, and
//! where the kernel gives them).

/// What a reason says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// Names, without `SKB_DROP_REASON_`.
    pub reasons: &'static [&'static str],
    /// After "which means that".
    pub what: &'static str,
    /// Commands that show more, each to be run where the packets died.
    pub look: &'static [&'static str],
    /// What may be done, and what it costs.
    pub change: &'static str,
}

/// All that are explained.
pub const MEANINGS: &[Meaning] = &[
    Meaning {
        reasons: &["CPU_BACKLOG"],
        what: "more packets waited for one processor than net.core.netdev_max_backlog allows (or flow limit held back)",
        look: &["cat /proc/net/softnet_stat (a line a processor: the second number is its drops)"],
        change: "spread the load over processors (RPS, more queues of the device) before raising \
            net.core.netdev_max_backlog: a longer queue is delay and memory",
    },
    Meaning {
        reasons: &["FULL_RING"],
        what: "the ring of a tap, tun or packet device was full: who reads it, a virtual machine or a VPN, is too slow",
        look: &["ip -s -d link"],
        change: "give the reader more processor time or queues; a longer ring (txqueuelen) only delays",
    },
    Meaning {
        reasons: &["DEV_READY", "NO_TX_TARGET"],
        what: "the device, or the one behind it, is down or not ready",
        look: &["ip -d link"],
        change: "bring the device up (ip link set DEVICE up), or find out who took it down: ip monitor link",
    },
    Meaning {
        reasons: &["TCP_MD5NOTFOUND", "TCP_AONOTFOUND"],
        what: "this end has a key for the peer (TCP-MD5 or TCP-AO), and the segment came unsigned",
        look: &["ss -tni (md5keys, ao_keys)"],
        change: "set the same key at both ends, or at neither: in BGP the neighbour's password",
    },
    Meaning {
        reasons: &["TCP_MD5UNEXPECTED", "TCP_AOUNEXPECTED", "TCP_AOKEYNOTFOUND"],
        what: "the peer signs its segments (TCP-MD5 or TCP-AO) with a key that this end does not have",
        look: &["ss -tni (md5keys, ao_keys)"],
        change: "set the same key at both ends, or at neither: in BGP the neighbour's password",
    },
    Meaning {
        reasons: &["TCP_MD5FAILURE", "TCP_AOFAILURE", "TCP_AUTH_HDR"],
        what: "the signature (TCP-MD5 or TCP-AO) is wrong: the ends have different keys, or addresses were translated",
        look: &["ss -tni (md5keys, ao_keys)"],
        change: "set the same key at both ends; address translation on the way breaks signatures for good",
    },
    Meaning {
        reasons: &["TCP_RFC7323_PAWS", "TCP_RFC7323_TW_PAWS", "TCP_RFC7323_TSECR"],
        what: "the segment's timestamp is older than the last one: it was on its way for long, or several hosts share \
            an address (translation, a failover) and their clocks differ",
        look: &["nstat -az TcpExtPAWSEstab TcpExtPAWSActive TcpExtPAWSTimewait"],
        change: "find the second host behind the address; as a last resort net.ipv4.tcp_timestamps=0 at it, which costs \
            the protection and good round trip times",
    },
    Meaning {
        reasons: &["TCP_ACK_UNSENT_DATA", "TCP_INVALID_ACK_SEQUENCE"],
        what: "the segment acknowledges what this end never sent: it belongs to another connection between the same \
            ports, or something on the way rewrites sequence numbers",
        look: &["ss -tnie"],
        change: "look for a firewall that randomises sequence numbers one way, or for a failover of the peer",
    },
    Meaning {
        reasons: &["TCP_MINTTL"],
        what: "the packet passed more routers than IP_MINTTL of the socket allows (generalised TTL security, RFC 5082)",
        look: &["ip route get ADDRESS"],
        change: "set the hops that the program allows to those of the path: in BGP ttl-security hops",
    },
    Meaning {
        reasons: &["XFRM_POLICY"],
        what: "IPsec: no policy lets the packet through as it came",
        look: &["ip xfrm policy", "ip xfrm state", "cat /proc/net/xfrm_stat"],
        change: "bring the policies of both ends together, or wait for the keys: ip xfrm monitor",
    },
    Meaning {
        reasons: &["SECURITY_HOOK"],
        what: "a security module (SELinux, Smack, AppArmor, BPF LSM) forbade it",
        look: &["dmesg | grep -i denied", "ausearch -m avc"],
        change: "change the policy of that module",
    },
    Meaning {
        reasons: &["PKT_TOO_BIG"],
        what: "the packet is longer than the link takes, and must not be cut up",
        look: &["ip -d link (mtu)", "tracepath ADDRESS"],
        change: "give both sides of the link the same MTU, and let ICMP \"fragmentation needed\" pass",
    },
    Meaning {
        reasons: &[
            "VXLAN_INVALID_HDR",
            "VXLAN_VNI_NOT_FOUND",
            "VXLAN_ENTRY_EXISTS",
            "IP_TUNNEL_ECN",
            "TUNNEL_TXINFO",
        ],
        what: "a tunnel did not take it: an unknown network (VNI), or a header that it does not expect",
        look: &["ip -d link show type vxlan", "bridge fdb"],
        change: "set the same identifier at both ends of the tunnel, and see who is to learn addresses",
    },
    Meaning {
        reasons: &["BRIDGE_INGRESS_STP_STATE", "MAC_INVALID_SOURCE", "LOCAL_MAC", "ARP_PVLAN_DISABLE"],
        what: "a bridge did not take it: its port does not forward (spanning tree), or the hardware address is not allowed",
        look: &["bridge -d link", "bridge fdb"],
        change: "wait for spanning tree, or find the second device with this address",
    },
    Meaning {
        reasons: &["IP_INVALID_SOURCE", "IP_LOCAL_SOURCE", "IP_LOCALNET"],
        what: "its source address cannot have come from there: it is this host's own, a loopback's or no host's",
        look: &["ip addr", "ip route get ADDRESS from SOURCE iif DEVICE"],
        change: "find who sends with this address; route_localnet and accept_local allow it where it is meant",
    },
    Meaning {
        reasons: &["NOMEM", "PFMEMALLOC"],
        what: "the kernel had no memory for the packet",
        look: &["cat /proc/buddyinfo", "dmesg | grep -i 'page allocation failure'"],
        change: "find who takes the host's memory; vm.min_free_kbytes keeps some back for packets",
    },
    Meaning {
        reasons: &["FRAG_REASM_TIMEOUT", "FRAG_TOO_FAR"],
        what: "it came in fragments, and one of them was missing",
        look: &["nstat -az IpReasmFails IpReasmTimeout"],
        change: "TCP sends fragments only where a tunnel cuts packets up: lower the MTU inside it",
    },
    Meaning {
        reasons: &["IP_INHDR", "PKT_TOO_SMALL", "HDR_TRUNC", "DEV_HDR", "UNICAST_IN_L2_MULTICAST"],
        what: "its headers are damaged, or do not fit together",
        look: &["ip -s -s link", "ethtool -S DEVICE"],
        change: "look for the device, driver or offload that damages packets",
    },
    Meaning {
        reasons: &["RECURSION_LIMIT"],
        what: "devices on top of each other send it in a circle",
        look: &["ip -d link", "ip route"],
        change: "mend the route that leads a tunnel's packets into the tunnel",
    },
];

/// What this reason, by its name without `SKB_DROP_REASON_`, means; `None` of one that has a cause of its own, or that
/// says nothing.
pub fn meaning(reason: &str) -> Option<&'static Meaning> {
    MEANINGS.iter().find(|meaning| meaning.reasons.contains(&reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drops::{Class, class};

    #[test]
    fn what_has_a_meaning_has_one_and_no_cause_of_its_own() {
        for reason in MEANINGS.iter().flat_map(|meaning| meaning.reasons) {
            assert_eq!(class(reason), Class::Other, "{reason}");
            let rows = MEANINGS.iter().filter(|meaning| meaning.reasons.contains(reason));
            assert_eq!(rows.count(), 1, "{reason}");
        }
        assert_eq!(meaning("SOMETHING_NEW"), None);
    }
}
