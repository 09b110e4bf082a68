//! What the kernel's reasons for dropping a packet mean (`enum skb_drop_reason`, include/net/dropreason-core.h).
//!
//! By name: the numbers change with nearly every release. A reason that is in none of the lists is [`Class::Other`]:
//! it is told like all others, with its name and its place.

/// Who dropped a packet, and what that says of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A socket had no memory or no room for it.
    Shortage,
    /// A rule of netfilter.
    Netfilter,
    /// There is no way to where it was to go, or from where it came.
    Route,
    /// The next hop does not answer ARP or neighbour discovery.
    Neighbour,
    /// A queueing discipline had no room.
    Queue,
    /// It came in by another device than the answer would leave by.
    ReversePath,
    /// It was damaged, or its checksum was never computed.
    Checksum,
    /// A BPF program or a filter of `tc`.
    Bpf,
    /// Part of how TCP works, or of how a socket ends: no trouble.
    Noise,
    /// Another.
    Other,
}

/// Reasons by class, of which a connection can have trouble.
const CLASSES: &[(Class, &[&str])] = &[
    (
        Class::Shortage,
        &[
            "PROTO_MEM",
            "SOCKET_BACKLOG",
            "SOCKET_RCVBUFF",
            "TCP_LISTEN_OVERFLOW",
            "TCP_OFO_QUEUE_PRUNE",
            "TCP_ZEROWINDOW",
        ],
    ),
    (Class::Netfilter, &["NETFILTER_DROP"]),
    (
        Class::Route,
        &["IP_OUTNOROUTES", "IP_INNOROUTES", "IP_INADDRERRORS", "IP_INVALID_DEST", "IPV6DISABLED"],
    ),
    (
        Class::Neighbour,
        &["NEIGH_FAILED", "NEIGH_QUEUEFULL", "NEIGH_CREATEFAIL", "NEIGH_DEAD", "NEIGH_HH_FILLFAIL"],
    ),
    (
        Class::Queue,
        &[
            "QDISC_DROP",
            "QDISC_OVERLIMIT",
            "QDISC_CONGESTED",
            "QDISC_BURST_DROP",
            "CAKE_FLOOD",
            "FQ_BAND_LIMIT",
            "FQ_HORIZON_LIMIT",
            "FQ_FLOW_LIMIT",
            "DUALPI2_STEP_DROP",
        ],
    ),
    (Class::ReversePath, &["IP_RPFILTER"]),
    (Class::Checksum, &["TCP_CSUM", "IP_CSUM", "SKB_CSUM"]),
    (Class::Bpf, &["TC_INGRESS", "TC_EGRESS", "XDP", "BPF_CGROUP_EGRESS", "SOCKET_FILTER"]),
];

/// Reasons that tell of no trouble, and why.
pub const NOISE: &[(&str, &str)] = &[
    ("SKB_CONSUMED", "it was used, not dropped"),
    ("NO_SOCKET", "answered with a reset, which has an event of its own"),
    ("TCP_FLAGS", "to a listener, answered with a reset, which has an event of its own"),
    ("OTHERHOST", "it was for another host, and only came by"),
    ("SOCKET_CLOSE", "it was queued at a socket that closed"),
    ("QUEUE_PURGE", "it was queued at a socket or device that went"),
    (
        "TCP_RESET",
        "a RST that may be forged, by its sequence number, and was answered with an ACK; of one that is obeyed 6.18 tells no drop",
    ),
    ("TCP_CLOSE", "it came to a closed socket"),
    ("TCP_INVALID_SYN", "a SYN to a connection that is open, answered with a challenge ACK"),
    ("TCP_ABORT_ON_DATA", "data after close, answered with a reset"),
    ("TCP_OLD_DATA", "all of it had been received before"),
    ("TCP_OFO_DROP", "the same, of what came out of order"),
    ("TCP_OFOMERGE", "all of it waited in the queue of what came out of order"),
    ("TCP_OLD_SEQUENCE", "it ends before what is expected: a duplicate, or a keepalive probe"),
    (
        "TCP_INVALID_SEQUENCE",
        "outside of its receiver's window: old, or more than it takes, and answered with an ACK",
    ),
    (
        "TCP_INVALID_END_SEQUENCE",
        "more than its receiver's window takes: a window that shuts has a cause of its own",
    ),
    ("TCP_OVERWINDOW", "the same, of data that came in order"),
    ("TCP_OLD_ACK", "it acknowledges what was acknowledged before"),
    ("TCP_TOO_OLD_ACK", "it acknowledges what was acknowledged long before"),
    ("TCP_RFC7323_PAWS_ACK", "an ACK that was overtaken"),
    ("TCP_FASTOPEN", "the data of its SYN had been received before"),
    ("DUP_FRAG", "the same fragment had come before"),
];

/// The class of a reason, by its name without `SKB_DROP_REASON_`.
pub fn class(reason: &str) -> Class {
    if NOISE.iter().any(|(name, _)| *name == reason) {
        return Class::Noise;
    }
    let row = CLASSES.iter().find(|(_, reasons)| reasons.contains(&reason));
    row.map_or(Class::Other, |(class, _)| *class)
}

/// No reason was given.
pub const UNSPECIFIED: &str = "NOT_SPECIFIED";

/// Functions that drop without giving a reason, and what it means there (6.18).
const UNNAMED: &[(Class, &[&str])] = &[
    (Class::Route, &["inet6_csk_xmit", "ip_error", "ip6_pkt_drop", "dst_discard", "dst_discard_out"]),
    // Where IPv6 reports that nobody answers.
    (Class::Neighbour, &["neigh_invalidate", "ndisc_error_report"]),
    // The whole of which no segment was queued.
    (Class::Queue, &["tbf_enqueue"]),
    (Class::Bpf, &["do_xdp_generic", "veth_xdp_rcv_skb"]),
];

/// The class of a reason at the place that `stack` tells: without a reason the place says what it was.
pub fn class_at(reason: &str, stack: &[Box<str>]) -> Class {
    let at = place(stack).filter(|_| reason == UNSPECIFIED);
    let row = at.and_then(|place| UNNAMED.iter().find(|(_, places)| places.contains(&place)));
    row.map_or_else(|| class(reason), |(class, _)| *class)
}

/// Functions that free what others drop, and what lies between them and the tracing.
const FREES: &[&str] = &[
    "sk_skb_reason_drop",
    "__sk_skb_reason_drop",
    "kfree_skb_reason",
    "__kfree_skb_reason",
    "kfree_skb_list_reason",
    "kfree_skb",
    "kfree_skb_list",
    "tcp_drop_reason",
    "tcp_drop",
    "skb_release_data",
];

/// The function that dropped a packet, of the stack at which it was freed.
pub fn place(stack: &[Box<str>]) -> Option<&str> {
    stack.iter().map(|frame| function(frame)).find(|frame| !FREES.contains(frame))
}

/// Without what the compiler made of it: `br_nf_forward_ip.part.0`.
fn function(frame: &str) -> &str {
    frame.split_once('.').map_or(frame, |(function, _)| function)
}

/// The hook of netfilter at which a packet was dropped, by the function that asked netfilter.
pub fn netfilter_hook(stack: &[Box<str>]) -> Option<&'static str> {
    const HOOKS: &[(&str, &[&str])] = &[
        ("INPUT", &["ip_local_deliver", "ip6_input"]),
        // Of br_netfilter, too, which asks in a bridge's place.
        ("FORWARD", &["ip_forward", "ip6_forward", "br_nf_forward_ip", "br_nf_forward"]),
        ("OUTPUT", &["__ip_local_out", "ip_local_out", "__ip6_local_out", "ip6_local_out", "ip6_xmit"]),
        (
            "POSTROUTING",
            &[
                "ip_output",
                "ip6_output",
                "ip_mc_output",
                "ip6_finish_output2",
                "xfrm4_output",
                "xfrm6_output",
                "br_nf_post_routing",
            ],
        ),
        (
            "PREROUTING",
            &["ip_rcv", "ipv6_rcv", "ip_list_rcv", "ipv6_list_rcv", "ip_sabotage_in", "br_nf_pre_routing"],
        ),
        ("bridge PREROUTING", &["br_handle_frame"]),
        ("bridge INPUT", &["br_pass_frame_up"]),
        ("bridge FORWARD", &["__br_forward"]),
        ("bridge POSTROUTING", &["br_forward_finish"]),
        ("ingress", &["nf_ingress", "__netif_receive_skb_core", "nft_do_chain_netdev"]),
        ("egress", &["nf_hook_egress", "__dev_queue_xmit"]),
    ];
    // A bridge asks by itself as a frame comes in (`nf_hook_bridge_pre`).
    let asks = |frame: &str| frame.starts_with("nf_hook_slow") || frame.starts_with("nft_do_chain_bridge");
    let asked = stack.iter().position(|frame| asks(frame))?;
    stack[asked + 1..].iter().find_map(|frame| {
        HOOKS.iter().find(|(_, functions)| functions.contains(&function(frame))).map(|(hook, _)| *hook)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(frames: &[&str]) -> Vec<Box<str>> {
        frames.iter().map(|&frame| frame.into()).collect()
    }

    #[test]
    fn the_function_that_asks_netfilter_tells_its_hook() {
        let output = stack(&[
            "sk_skb_reason_drop",
            "nft_do_chain",
            "nft_do_chain_inet",
            "nf_hook_slow",
            "__ip_local_out",
            "ip_local_out",
            "__ip_queue_xmit",
        ]);
        assert_eq!((place(&output), netfilter_hook(&output)), (Some("nft_do_chain"), Some("OUTPUT")));
        let input = stack(&["kfree_skb_reason", "nf_hook_slow", "ip_local_deliver", "ip_rcv"]);
        assert_eq!((place(&input), netfilter_hook(&input)), (Some("nf_hook_slow"), Some("INPUT")));
        let reverse = stack(&["kfree_skb_reason", "ip_rcv_finish_core", "ip_rcv"]);
        assert_eq!((place(&reverse), netfilter_hook(&reverse)), (Some("ip_rcv_finish_core"), None));
    }

    #[test]
    fn a_bridge_has_hooks_of_its_own_and_asks_those_of_ip() {
        let hook = |frames: &[&str]| netfilter_hook(&stack(frames));
        let chain = "nft_do_chain";
        assert_eq!(hook(&[chain, "nft_do_chain_bridge", "br_handle_frame"]), Some("bridge PREROUTING"));
        let forward = [chain, "nft_do_chain_bridge", "nf_hook_slow", "__br_forward"];
        assert_eq!(hook(&forward), Some("bridge FORWARD"));
        let asked = [chain, "nft_do_chain_ipv4", "nf_hook_slow", "br_nf_forward_ip.part.0", "nf_hook_slow"];
        assert_eq!(hook(&[&asked[..], &["__br_forward"]].concat()), Some("FORWARD"));
        assert_eq!(
            hook(&[chain, "nft_do_chain_netdev", "nf_hook_slow", "__netif_receive_skb_core.constprop.0"]),
            Some("ingress")
        );
    }

    #[test]
    fn a_drop_without_a_reason_is_what_its_place_says() {
        let at = |reason, function| class_at(reason, &stack(&["sk_skb_reason_drop", function, "ip_output"]));
        assert_eq!(at(UNSPECIFIED, "inet6_csk_xmit"), Class::Route);
        assert_eq!(at(UNSPECIFIED, "tbf_enqueue"), Class::Queue);
        assert_eq!(at(UNSPECIFIED, "do_xdp_generic.part.0"), Class::Bpf);
        assert_eq!(at(UNSPECIFIED, "veth_xmit"), Class::Other);
        assert_eq!(at("NETFILTER_DROP", "ip_error"), Class::Netfilter);
        assert_eq!(class_at(UNSPECIFIED, &[]), Class::Other);
    }

    #[test]
    fn no_reason_has_two_classes() {
        for (_, reasons) in CLASSES {
            for reason in *reasons {
                assert!(!NOISE.iter().any(|(noise, _)| noise == reason), "{reason}");
                let rows = CLASSES.iter().filter(|(_, others)| others.contains(reason));
                assert_eq!(rows.count(), 1, "{reason}");
            }
        }
        assert_eq!((class("TCP_RESET"), class("SOMETHING_NEW")), (Class::Noise, Class::Other));
    }
}
