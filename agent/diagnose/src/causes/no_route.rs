//! What is to be sent again finds no way, and no packet is made of it (`__tcp_retransmit_skb`: `rebuild_header` fails):
//! nothing is dropped, and the attempt tells why (6.17+).

use agent_correlate::timeline::What;
use agent_model::cause::Cause;
use agent_model::signals::retransmit::Resend;
use agent_model::units::{errno, plural};

use super::common::{left, lost, owner, sent, timeouts};
use super::silence::{given_up, is_silent};
use super::{Finding, Story};

pub(super) fn rule(story: &Story) -> Option<Finding> {
    let error = error(story).filter(|_| is_silent(story) || given_up(story))?;
    let connection = story.connection?;
    let end = match (story.is_dead(), story.error()) {
        (false, _) => left(story),
        (true, 0) => format!("{} gave up", owner(story)),
        (true, error) => format!("the kernel gave up with {}", errno(error)),
    };
    let summary = format!(
        "this host has no way to send for it (network namespace {}, {}): {end}",
        connection.identity.netns,
        errno(error)
    );
    let (local, remote) = (connection.identity.local().ip(), connection.identity.remote().ip());
    let failed = plural(connection.totals().failed, "attempt");
    Some(
        Finding::new(Cause::NoRoute, summary)
            .saw(format!("{failed} to send again failed on this host, the last with {}", errno(error)))
            .saw_if(timeouts(story))
            .saw_if(sent(story))
            .saw_if(story.is_dead().then(|| lost(story)).flatten())
            .infer(format!(
                "no packet was made: there is no route to {remote} any more, or {local} is no address of this host any \
                    more: not the peer, and not the path"
            ))
            .advise(format!(
                "in its network namespace: ip route get {remote} from {local}, and ip address show to {local}"
            ))
            .advise("and who changes routes or addresses: ip monitor route address"),
    )
}

/// The errno of the last attempt to send again, if it found no way.
fn error(story: &Story) -> Option<i32> {
    let last = story.entries().iter().rev().find_map(|entry| {
        if let What::Retransmit(Resend { err, .. }) = entry.what { Some(-i32::from(err)) } else { None }
    })?;
    matches!(last, libc::EHOSTUNREACH | libc::ENETUNREACH).then_some(last)
}
