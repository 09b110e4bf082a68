//! An ICMP message ends a `connect()` at once (`tcp_v4_err`, `tcp_v6_err`: in SYN_SENT any error is final).

use agent_model::cause::Cause;
use agent_model::event::TcpState;
use agent_model::units::{errno, plural};

use super::common::owner;
use super::{Finding, Story};

/// What the errno of an ICMP message may stand for (`icmp_err_convert` in net/ipv4/icmp.c, `tab_unreach` in
/// net/ipv6/icmp.c).
const MEANINGS: &[(i32, &str)] = &[
    (
        libc::EHOSTUNREACH,
        "host unreachable (a router found no way to it), or prohibited by a firewall (codes 1, 10, 13)",
    ),
    (libc::ENETUNREACH, "network unreachable, or prohibited by a firewall (codes 0, 6, 9)"),
    (libc::EACCES, "prohibited by a firewall (ICMPv6 codes 1, 5, 6)"),
    (libc::EHOSTDOWN, "host unknown (code 7)"),
    (libc::ENONET, "host isolated (code 8)"),
    (libc::ENOPROTOOPT, "that host does not speak TCP (code 2)"),
    (libc::EPROTO, "a parameter problem (ICMP type 12)"),
];

pub(super) fn rule(story: &Story) -> Option<Finding> {
    let connection = story.connection.filter(|_| story.is_dead() && story.received().is_none())?;
    (connection.live_state == Some(TcpState::SynSent) && story.reset().is_none()).then_some(())?;
    let (_, meaning) = MEANINGS.iter().find(|(error, _)| *error == story.error())?;
    let (error, remote) = (errno(story.error()), connection.identity.remote());
    let stage = story.stage();
    let when = match stage {
        0 => "the first SYN".to_owned(),
        stage => format!("a SYN, after {} without an answer", plural(stage, "timeout")),
    };
    let summary = format!(
        "the connect() of {} to {remote} was refused with {error}: an ICMP message answered {when}",
        owner(story)
    );
    let finding = Finding::new(Cause::IcmpUnreachable, summary)
        .saw(format!("the socket's error is {error}, and no RST came"))
        .infer(format!("in SYN_SENT only an ICMP error gives that at once: {meaning}"));
    let finding = if stage == 0 {
        finding.infer(format!(
            "it came within the first second, so somebody answered: a firewall at {} or on the way there, this host's \
                own included; a missing route on this host would have failed before any SYN",
            remote.ip()
        ))
    } else {
        finding.infer(
            "after some seconds this host itself tells of a next hop that does not answer ARP or neighbour discovery; a \
                router on the way tells of the same",
        )
    };
    Some(
        finding
            .advise(format!("who sent it: tcpdump -ni any 'icmp or icmp6' while it connects to {}", remote.ip()))
            .advise(
                "rules of this host and of that one with reject in them (nft list ruleset; iptables-save), and the next \
                    hop (ip route get, ip neigh)",
            ),
    )
}
