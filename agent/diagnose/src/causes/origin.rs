//! Who made a RST that was accepted, as far as its packet tells: the device that it came in by, and how many routers
//! it passed.

use agent_correlate::timeline::What;
use agent_model::signals::reset_received::{Arrival, PeerReset};
use agent_model::units::plural;

use super::{Finding, Story};

/// The device of a network namespace that leads nowhere else: it is made with the namespace, as its first.
const LOOPBACK: u32 = 1;

/// What a packet's time to live begins at: Linux and macOS, Windows, and routers, Solaris and others (RFC 1700 has 64).
const INITIAL: [u8; 3] = [64, 128, 255];

/// Who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    /// This host, which is not the peer's: observed.
    ThisHost,
    /// Something that is nearer or farther than the peer: inferred.
    Another,
    /// The peer, or something that nothing tells from it.
    PeerOrUnknown,
}

pub(super) fn maker(story: &Story) -> Maker {
    let Some(Arrival { ttl, ifindex, peer_ttl }) = arrival(story) else { return Maker::PeerOrUnknown };
    let is_another = peer_ttl.is_some_and(|peer| routers(peer) != routers(ttl));
    match ifindex {
        Some(LOOPBACK) if !is_peer_in_here(story) => Maker::ThisHost,
        Some(LOOPBACK) => Maker::PeerOrUnknown,
        _ if is_another => Maker::Another,
        _ => Maker::PeerOrUnknown,
    }
}

/// What the packet says, and what follows from it.
pub(super) fn tell(finding: Finding, story: &Story) -> Finding {
    let Some(arrival) = arrival(story) else { return finding };
    let finding = finding.saw(seen(arrival)).saw_if(
        arrival.peer_ttl.map(|ttl| format!("data of the peer that is not read yet had come with TTL {ttl}")),
    );
    match follows(story, arrival) {
        Some(text) => finding.infer(text),
        None => finding,
    }
}

/// Whether another packet of the peer was seen, so that a capture would say no more.
pub(super) fn is_compared(story: &Story) -> bool {
    arrival(story).is_some_and(|arrival| arrival.peer_ttl.is_some())
}

fn arrival(story: &Story) -> Option<Arrival> {
    let What::ResetReceived(PeerReset { arrival, .. }) = story.received()?.what else { return None };
    arrival
}

fn seen(arrival: Arrival) -> String {
    let Arrival { ttl, ifindex, .. } = arrival;
    let by = match ifindex {
        Some(LOOPBACK) => " by the loopback device".to_owned(),
        Some(index) => format!(" by device {index}"),
        None => String::new(),
    };
    format!("the RST came in{by} with TTL {ttl}")
}

fn follows(story: &Story, arrival: Arrival) -> Option<String> {
    let Arrival { ttl, ifindex, peer_ttl } = arrival;
    if ifindex == Some(LOOPBACK) {
        return (!is_peer_in_here(story)).then(|| {
            "it was made on this host, in the peer's name: by a firewall rule with `reject`, or by a process that \
                address translation put in the peer's place"
                .to_owned()
        });
    }
    let passed = routers(ttl);
    Some(match peer_ttl.map(routers) {
        Some(peer) if peer == passed => format!(
            "it passed {}, as the peer's data did: nothing speaks for a device between that made it",
            plural(passed, "router")
        ),
        Some(peer) => format!(
            "it passed {} and the peer's data {peer}: not the peer made it, but a device {}",
            plural(passed, "router"),
            if passed < peer { "between (a firewall, load balancer or proxy)" } else { "farther away" }
        ),
        None if passed == 0 => {
            "no router lies between: a host on the same link made it, or the next hop, in the peer's \
            name; no other packet of the peer was seen to compare with"
                .to_owned()
        }
        None => format!(
            "it passed {}, if its TTL began at {}; no other packet of the peer was seen to compare with",
            plural(passed, "router"),
            ttl.saturating_add(passed)
        ),
    })
}

/// How many routers it passed: each takes 1.
fn routers(ttl: u8) -> u8 {
    INITIAL.iter().find(|initial| **initial >= ttl).map_or(0, |initial| initial - ttl)
}

/// Both ends are in one network namespace, where all packets take the loopback device.
fn is_peer_in_here(story: &Story) -> bool {
    story.connection.is_some_and(|known| {
        let (local, remote) = (known.identity.local().ip(), known.identity.remote().ip());
        let is_there = story.peer.is_some_and(|peer| peer.identity.netns == known.identity.netns);
        remote.is_loopback() || local == remote || is_there
    })
}
