//! One file a piece of advice.

mod backlog;
mod buffer_caps;
mod buffers;
mod conntrack_max;
mod keepalive;
mod max_orphans;
mod max_syn_backlog;
mod netdev_max_backlog;
mod orphan_retries;
mod retries2;
mod rp_filter;
mod syn_retries;
mod synack_retries;
mod tcp_mem;
mod user_timeout;

use std::time::Duration;

use agent_diagnose::outcomes::{Loss, Recovery};
use agent_model::timers::policy::Limit;
use agent_model::timers::schedule::{Params, Schedule, schedule};

use super::{Advice, Gathered, NetnsView};

/// Advice about settings of a network namespace.
pub(super) const OF_A_NAMESPACE: &[fn(&NetnsView) -> Vec<Advice>] = &[
    retries2::rule,
    user_timeout::rule,
    syn_retries::rule,
    orphan_retries::rule,
    keepalive::rule,
    backlog::rule,
    max_syn_backlog::rule,
    synack_retries::rule,
    buffers::rule,
    rp_filter::rule,
    conntrack_max::rule,
];

/// Advice about settings of the host.
pub(super) const OF_THE_HOST: &[fn(&Gathered) -> Vec<Advice>] =
    &[tcp_mem::rule, max_orphans::rule, buffer_caps::rule, netdev_max_backlog::rule];

/// What becomes of a connection with a limit, if its peer stays silent.
fn life(rto_ms: u64, rto_max: Duration, limit: Limit) -> Schedule {
    schedule(&Params { rto: Duration::from_millis(rto_ms.max(1)), rto_max, user_timeout: None, limit })
}

/// How many of the recoveries a limit would have made deaths: those that needed more retransmissions than it
/// allows.
fn killed<'a>(recoveries: impl Iterator<Item = &'a Recovery>, rto_max: Duration, limit: Limit) -> u64 {
    let kills = |one: &&Recovery| life(one.rto_ms, rto_max, limit).sent() < one.stage as usize;
    recoveries.filter(kills).map(|one| one.count).sum()
}

/// The latest recovery, and how many there were.
fn summary<'a>(recoveries: impl Iterator<Item = &'a Recovery>) -> (u64, u32) {
    recoveries.fold((0, 0), |(count, latest), one| (count + one.count, latest.max(one.stage)))
}

/// `of 412 recoveries none came after stage 6`
fn recovered((count, latest): (u64, u32)) -> String {
    match count {
        0 => "no stall of the kind recovered".to_owned(),
        1 => format!("the one recovery came at stage {latest}"),
        _ => format!("of {count} recoveries none came after stage {latest}"),
    }
}

/// How long each waited until it was given up.
fn waits(losses: &[&Loss]) -> Vec<Duration> {
    losses.iter().map(|loss| Duration::from_millis(loss.lived_ms)).collect()
}

/// The mean of times.
fn mean(times: &[Duration]) -> Duration {
    times.iter().sum::<Duration>().checked_div(times.len() as u32).unwrap_or_default()
}
