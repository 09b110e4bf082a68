//! `connect()` finds no free local port for its destination (`__inet_hash_connect`): EADDRNOTAVAIL, before any SYN.

use agent_correlate::timeline::What;
use agent_model::cause::Cause;
use agent_model::event::TcpState;
use agent_model::signals::state_changed::Step;

use super::common::owner;
use super::{Finding, Story};

/// The kernel enters SYN_SENT, looks for a port, and takes the state back: no port was ever set, nothing was sent.
pub(super) fn rule(story: &Story) -> Option<Finding> {
    let connection = story.connection.filter(|_| story.is_dead() && story.error() == 0)?;
    let took_back =
        |what| matches!(what, What::StateChanged(Step { old: TcpState::SynSent, new: TcpState::Close, err: 0 }));
    let only = story.entries().iter().all(|entry| took_back(entry.what));
    (connection.identity.local().port() == 0 && only).then_some(())?;
    let (who, remote) = (owner(story), connection.identity.remote());
    Some(
        Finding::new(
            Cause::NoLocalPort,
            format!("connect() of {who} to {remote} failed with EADDRNOTAVAIL: no local port is free for it"),
        )
        .saw("the socket left SYN_SENT without a local port and without an error: no SYN was sent")
        .infer(format!(
            "every port of net.ipv4.ip_local_port_range that this address may use to {remote} is taken, by \
                connections that are open or in TIME_WAIT (no memory for one more port would look the same)"
        ))
        .advise(format!(
            "see who has them, in its network namespace: ss -tanp dst {}; then reuse connections (keep-alive, a \
                pool) in {who}",
            remote.ip()
        ))
        .advise(
            "more room: a wider net.ipv4.ip_local_port_range, a second source address, or net.ipv4.tcp_tw_reuse=1 \
                if most are in TIME_WAIT; each port is free once for every destination address and port",
        ),
    )
}
