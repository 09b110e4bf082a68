//! How a drop is put, and what to look at.

use agent_correlate::connection::Connection;
use agent_model::drop_reasons::{self, Meaning};
use agent_model::drops::{self, Class};
use agent_model::escape::Escaped;
use agent_model::signals::packet_dropped::Role;

use super::Drops;
use crate::Story;

/// Functions that drop without a reason since a device is down (6.18), and the reason that says so.
const DOWN: (&[&str], &str) = (&["__dev_forward_skb2", "veth_xmit"], "DEV_READY");

impl Drops<'_> {
    /// iptables' verdict is carried out by `nf_hook_slow`, nftables' by its own rules (6.18).
    pub(super) fn tool(&self) -> &'static str {
        match drops::place(self.stack) {
            Some(place) if place.starts_with("nft_") => "nftables",
            Some("nf_hook_slow") => "iptables or conntrack",
            _ => "netfilter",
        }
    }

    pub(super) fn whose(&self) -> &'static str {
        match self.dropped.role {
            Some(Role::Receiver) => "the packets that come for it",
            Some(Role::Sender) | None => "its packets",
        }
    }

    /// `this host's firewall (OUTPUT, network namespace 4026531840)`.
    pub(super) fn who(&self) -> String {
        let by = match self.class {
            Class::Netfilter => "this host's firewall",
            Class::Route => "this host has no route",
            Class::Neighbour => "the next hop does not answer",
            Class::Queue => "the queue of this host's device is full",
            Class::ReversePath => "this host's reverse path filter",
            Class::Checksum => "this host finds wrong checksums",
            Class::Bpf => self.program(),
            Class::Shortage | Class::Noise | Class::Other => "this host",
        };
        let netns = self.dropped.netns.map(|netns| format!("network namespace {netns}"));
        let place: Vec<_> = self.hook().map(str::to_owned).into_iter().chain(netns).collect();
        if place.is_empty() { by.to_owned() } else { format!("{by} ({})", place.join(", ")) }
    }

    fn program(&self) -> &'static str {
        match self.reason {
            "XDP" | drops::UNSPECIFIED => "an XDP program of this host",
            "BPF_CGROUP_EGRESS" => "a BPF program of its cgroup",
            "SOCKET_FILTER" => "a filter of the receiving socket",
            _ => "a BPF program or tc filter of this host",
        }
    }

    pub(super) fn meaning(&self) -> Option<&'static Meaning> {
        let (functions, reason) = DOWN;
        let place = drops::place(self.stack).filter(|_| self.reason == drops::UNSPECIFIED);
        let is_down = place.is_some_and(|place| functions.contains(&place));
        drop_reasons::meaning(if is_down { reason } else { self.reason })
    }

    /// What it is that has a meaning.
    pub(super) fn what(&self) -> String {
        let why = self.why();
        if why == self.reason { why } else { format!("a drop {why}") }
    }

    /// The kernel's reason, or the function that gave none.
    pub(super) fn why(&self) -> String {
        match drops::place(self.stack) {
            Some(place) if self.reason == drops::UNSPECIFIED => format!("in {place}()"),
            _ => self.reason.to_owned(),
        }
    }

    pub(super) fn for_what(&self) -> String {
        if self.reason == drops::UNSPECIFIED {
            "without giving a reason".to_owned()
        } else {
            format!("for {}", self.reason)
        }
    }

    /// What it does to the packets, after [`Self::who`].
    pub(super) fn verb(&self) -> &'static str {
        match self.class {
            Class::Neighbour => "and this host drops",
            Class::Route | Class::Queue | Class::Checksum => "and drops",
            Class::Netfilter
            | Class::ReversePath
            | Class::Bpf
            | Class::Shortage
            | Class::Noise
            | Class::Other => "drops",
        }
    }

    pub(super) fn named_netns(&self, story: &Story, netns: u32) -> String {
        let is =
            |connection: Option<&Connection>| connection.is_some_and(|known| known.identity.netns == netns);
        let whose = match () {
            () if is(story.connection) => "its own",
            () if is(story.peer)
                || story.listeners_there.iter().any(|there| there.endpoint.netns == netns) =>
            {
                "its peer's, on this host"
            }
            () if self.hook() == Some("INPUT") => "where it was to arrive, on this host",
            () if self.is_on_its_way() => "another one of this host, on the way",
            () => "another one of this host",
        };
        format!("in network namespace {netns} ({whose})")
    }

    /// By its name where that is known: in the agent's own network namespace.
    pub(super) fn device(&self, story: &Story) -> Option<String> {
        let index = self.dropped.ifindex?;
        let here = story.settings.filter(|settings| self.dropped.netns == Some(settings.netns));
        let name = here.and_then(|settings| settings.device(index)).map(Escaped);
        Some(name.map_or_else(
            || format!("at its device {index}"),
            |name| format!("at its device {name} ({index})"),
        ))
    }

    /// `the table of tracked connections has 65536 of 65536 entries: it drops the packets of new ones`, where conntrack
    /// may have done it and its table is full.
    pub(super) fn full_table(&self, story: &Story) -> Option<String> {
        let here = story.settings.filter(|settings| self.dropped.netns == Some(settings.netns))?;
        let value = |name: &str| here.value(&format!("net.netfilter.nf_conntrack_{name}"));
        let (count, most) = (value("count")?, value("max").filter(|most| *most > 0)?);
        let may_be = drops::place(self.stack).is_none_or(|place| place == "nf_hook_slow");
        (may_be && self.class == Class::Netfilter && count >= most).then(|| {
            format!(
                "the table of tracked connections has {count} of {most} entries (nf_conntrack_max): it drops the packets \
                 of new ones"
            )
        })
    }

    /// Forwarded, by a router or a bridge.
    fn is_on_its_way(&self) -> bool {
        let forwards = |hook: &str| hook == "FORWARD" || hook.starts_with("bridge");
        self.hook().is_some_and(forwards) || self.class == Class::Route
    }

    /// A command that runs in the network namespace where the packets died.
    fn inside(&self, story: &Story, command: &str) -> String {
        let Some(netns) = self.dropped.netns else { return command.to_owned() };
        let ends = [story.connection, story.peer].into_iter().flatten();
        let there = ends.filter(|known| known.identity.netns == netns).find_map(|known| known.owner.as_ref());
        match there {
            Some(owner) => format!("nsenter -t {} -n {command}", owner.process.pid),
            None => format!(
                "nsenter --net=/proc/PID/ns/net {command}, with a PID of network namespace {netns} (lsns -t net)"
            ),
        }
    }

    pub(super) fn show_rules(&self, story: &Story) -> String {
        let nft = self.inside(story, "nft list ruleset");
        let iptables = self.inside(story, "iptables -L -v -n (ip6tables)");
        let hook = self.hook().map_or_else(String::new, |hook| format!(" with hook {}", hook.to_lowercase()));
        match self.tool() {
            "nftables" => format!("see which rule of a chain{hook} it is: {nft}"),
            _ => format!(
                "see which rule of a chain{hook} it is: {iptables}, or {nft}; conntrack's own: conntrack -S"
            ),
        }
    }

    pub(super) fn advice(&self, story: &Story) -> Vec<String> {
        let remote =
            story.connection.map(|known| known.identity.remote().ip().to_string()).unwrap_or_default();
        let inside = |command: &str| self.inside(story, command);
        match self.class {
            Class::Netfilter => vec![self.show_rules(story)],
            Class::Route => vec![
                format!("see the route: {}", inside(&format!("ip route get {remote}"))),
                format!("and who changes routes or addresses: {}", inside("ip monitor route address")),
            ],
            Class::Neighbour => vec![
                format!("see the next hop: {} and {}", inside(&format!("ip route get {remote}")), inside("ip neigh")),
                "the next hop is down, has another address, or sits in another VLAN; a gateway that moved should announce itself"
                    .to_owned(),
            ],
            Class::Queue => vec![
                format!("see the queue and its limit: {}", inside("tc -s qdisc")),
                "a sender that is faster than its device fills any queue: fq or fq_codel keep it short, a longer one only adds delay"
                    .to_owned(),
            ],
            Class::ReversePath => vec![
                format!("see the setting: {}", inside("sysctl -a --pattern rp_filter")),
                "the way back leads through another device: mend the routes, or set rp_filter to 2 (loose) on the device it comes by"
                    .to_owned(),
            ],
            Class::Checksum => vec![format!(
                "see whether offloads are at fault: {}; turning tx off (ethtool -K DEVICE tx off) at the sender's device proves it",
                inside("ethtool -k DEVICE")
            )],
            Class::Bpf => vec![self.see_program(story)],
            Class::Shortage | Class::Noise | Class::Other => match self.meaning() {
                Some(meaning) => {
                    let look: Vec<_> = meaning.look.iter().map(|command| inside(command)).collect();
                    vec![format!("see more: {}", look.join(" and ")), meaning.change.to_owned()]
                }
                None => vec![format!(
                    "the kernel's name for it is {}: include/net/dropreason-core.h says what it means",
                    self.reason
                )],
            },
        }
    }

    fn see_program(&self, story: &Story) -> String {
        let inside = |command: &str| self.inside(story, command);
        let attached =
            |at: &str| format!("see what is attached: {} and {}", inside("bpftool net"), inside(at));
        match self.reason {
            "BPF_CGROUP_EGRESS" => "see what is attached: bpftool cgroup tree".to_owned(),
            "SOCKET_FILTER" => format!(
                "its own process attached it (SO_ATTACH_FILTER, SO_ATTACH_BPF; whose it is: {}), or it is a program of \
                    its cgroup at ingress: bpftool cgroup tree",
                inside("ss -tnp")
            ),
            "TC_EGRESS" => attached("tc filter show dev DEVICE egress"),
            "TC_INGRESS" => attached("tc filter show dev DEVICE ingress"),
            _ => attached("ip -d link"),
        }
    }
}
