//! Keepalive probes went unanswered (`tcp_keepalive_timer`): a reset, then ETIMEDOUT.

use agent_model::cause::Cause;
use agent_model::timers::Timer;
use agent_model::units::{jiffies, plural};

use super::common::{left, owner, reason, unanswered, went};
use super::{Finding, Story};
use crate::path::Path;

pub(super) fn rule(story: &Story) -> Option<Finding> {
    if !story.is_dead() {
        return waits(story);
    }
    let certainty = went(story, Path::Keepalive)?;
    let probes = story.raw().map_or(0, |raw| u32::from(raw.probes_out));
    let probes = plural(probes, "keepalive probe");
    let summary = format!("the peer did not answer {probes}: given up");
    let finding = Finding::new(Cause::KeepaliveTimeout, summary).with(certainty, reason(story, certainty));
    Some(facts(finding, story, &probes))
}

/// It lives, and its last probes went unanswered.
fn waits(story: &Story) -> Option<Finding> {
    story.outlook.filter(|outlook| outlook.timer == Timer::Keepalive)?;
    let probes = unanswered(story)?;
    let summary = format!("no answer to {probes}: {}", left(story));
    Some(facts(Finding::new(Cause::KeepaliveTimeout, summary), story, &probes))
}

fn facts(finding: Finding, story: &Story, probes: &str) -> Finding {
    let finding = finding
        .saw(format!("{probes} went unanswered while nothing was in flight"))
        .saw_if(settings(story))
        .infer("the peer is gone, or something between (a NAT, a firewall) has forgotten the connection");
    finding.advise(format!(
        "if the path forgets idle connections: in {}, TCP_KEEPIDLE below its limit (often 300 s); each \
            probe is one small packet",
        owner(story)
    ))
}

/// The socket's own, else the namespace's.
fn settings(story: &Story) -> Option<String> {
    let tcp = story.tcp()?;
    let (raw, netns, hz) = (&tcp.raw, &tcp.netns, story.host.hz);
    let or = |own: u32, shared: u32| if own == 0 { shared } else { own };
    let probes = or(raw.keepalive_probes.into(), netns.keepalive_probes.into());
    let idle = jiffies(or(raw.keepalive_time, netns.keepalive_time), hz);
    let interval = jiffies(or(raw.keepalive_intvl, netns.keepalive_intvl), hz);
    Some(format!(
        "keepalive starts after {idle}, then {probes} probes every {interval}; TCP_USER_TIMEOUT {} ms",
        raw.user_timeout
    ))
}
