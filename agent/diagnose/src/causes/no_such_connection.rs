//! A segment of an open connection comes to a place that has no such connection, and is answered with a reset
//! (`tcp_v4_rcv`, NO_SOCKET; a listener that gets an ACK, TCP_FLAGS): the address moved, its translation was not undone,
//! or the end is gone. Both are seen where both are on this host: the place that reset, and the connection that was.

use std::time::Duration;

use agent_correlate::connection::Connection;
use agent_correlate::strays::Stray;
use agent_model::cause::Cause;
use agent_model::units::{bytes, process, time};

use super::common::{lost, owner, sent};
use super::{Finding, Story};
use crate::Certainty;
use crate::story::Astray;

pub(super) fn rule(story: &Story) -> Option<Finding> {
    let astray = story.astray.as_ref()?;
    let Stray { local, remote, netns, segment, .. } = &astray.stray;
    let summary = if story.stray.is_some() {
        format!("{remote} sent a segment of a connection that {local} does not have: reset")
    } else {
        format!(
            "the connection of {} was reset by {local} in network namespace {netns}, on this host, which does not \
                have it",
            owner(story)
        )
    };
    let finding = Finding::new(Cause::NoSuchConnection, summary)
        .saw(format!(
            "a segment with {} and {} came from {remote} to {local} in network namespace {netns}, met no connection \
                and was answered with a RST",
            segment.flags,
            bytes(segment.len)
        ))
        .saw(listener(&astray.stray))
        .saw_if(astray.sender.filter(|_| story.stray.is_some()).map(sender))
        .saw_if(sent(story))
        .saw_if(lost(story));
    Some(why(finding, story, astray))
}

fn listener(stray: &Stray) -> String {
    let Some(listener) = &stray.listener else { return "no listener is known there".to_owned() };
    let who = listener.owner.as_ref().map_or_else(|| "somebody".to_owned(), |owner| process(&owner.process));
    format!("{who} listens there; for a listener only a SYN begins a connection")
}

fn sender(connection: &Connection) -> String {
    format!("it is a segment of connection {} of {}, on this host", connection.id, who(connection))
}

fn who(connection: &Connection) -> String {
    let owner = connection.owner.as_ref();
    owner.map_or_else(|| "an unknown process".to_owned(), |owner| process(&owner.process))
}

/// What is known first; else what could be.
fn why(finding: Finding, story: &Story, astray: &Astray) -> Finding {
    let Astray { stray, sender, elsewhere, former, neighbour } = astray;
    if let Some(former) = former {
        return ended(finding, stray, former);
    }
    if let Some(elsewhere) = elsewhere {
        return moved(finding, stray, elsewhere);
    }
    let wanted = sender.map(|sender| sender.identity.remote()).filter(|wanted| *wanted != stray.local);
    if let Some(wanted) = wanted {
        let text = format!("it was sent to {wanted} and came to {}: translated on the way", stray.local);
        return untranslated(finding.saw(text));
    }
    if let Some(neighbour) = neighbour {
        let text = format!(
            "{} belongs to the connection of {} to {}: an answer to that one that came without its translation",
            stray.local,
            who(neighbour),
            neighbour.identity.remote()
        );
        return untranslated(finding.with(Certainty::Inferred, text));
    }
    let is_new = sender.is_some_and(|sender| sender.tcp().is_some_and(|tcp| tcp.raw.bytes_acked <= 1));
    if is_new && stray.listener.is_some() {
        return handshake(finding);
    }
    unknown(finding, story)
}

fn ended(finding: Finding, stray: &Stray, former: &Connection) -> Finding {
    let ago = former.died().map(|died| Duration::from_nanos(stray.time.saturating_sub(died)));
    let ago = ago.map_or_else(|| "before".to_owned(), |ago| format!("{} before", time(ago)));
    let cause =
        former.verdict.map_or_else(|| "in order, or not known how".to_owned(), |cause| cause.to_string());
    finding
        .saw(format!("it had this connection, {} of {}, which ended {ago}: {cause}", former.id, who(former)))
        .advise(format!("how it ended: tcpwhy why --id {}", former.id))
}

fn moved(finding: Finding, stray: &Stray, elsewhere: &Connection) -> Finding {
    finding
        .saw(format!(
            "{} still has this connection open in network namespace {}: {} is there too",
            who(elsewhere),
            elsewhere.identity.netns,
            stray.local.ip()
        ))
        .with(
            Certainty::Inferred,
            "the address moved to another host with the connection open (failover), or two hosts have it",
        )
        .advise(format!(
            "`ip neigh show {}` in the sender's network namespace says whose it is now; after a failover clients have \
                to connect again: let the old host reset its connections, or synchronise them",
            stray.local.ip()
        ))
}

fn untranslated(finding: Finding) -> Finding {
    finding
        .with(
            Certainty::Inferred,
            "address translation on this host did not take the segment for one of its connection: conntrack called \
                it INVALID (out of its window), had forgotten it, or is not on its way back",
        )
        .advise(
            "`conntrack -S` counts what is invalid, net.netfilter.nf_conntrack_log_invalid=6 logs it; drop it instead \
                of passing it on (nft: ct state invalid drop), or net.netfilter.nf_conntrack_tcp_be_liberal=1",
        )
}

fn handshake(finding: Finding) -> Finding {
    finding
        .with(
            Certainty::Inferred,
            "nothing of it had been acknowledged: its handshake was with a listener that closed meanwhile, while \
                another one shares the port (SO_REUSEPORT), or the half-open connection had been given up",
        )
        .advise(
            "for restarts without loss: net.ipv4.tcp_migrate_req=1 gives the handshakes of a listener that closes to \
                one that stays (5.14 and later), or pass the listener itself on",
        )
}

fn unknown(finding: Finding, story: &Story) -> Finding {
    let known = story.astray.as_ref().is_some_and(|astray| astray.sender.is_some());
    let finding = finding.with(
        Certainty::Inferred,
        "likeliest first: the end that had the connection is gone without a word (its host or pod was restarted or \
            replaced, and has its address); address translation sent the segment to the wrong place; the segment is \
            late, of a connection that ended",
    );
    if known {
        return finding;
    }
    finding.advise("at the sender, `tcpwhy why` with this address and port says what the connection was")
}
