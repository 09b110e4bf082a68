//! `TCP_USER_TIMEOUT` for programs that lost connections to silence: it applies to them alone, the sysctl to all.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_diagnose::outcomes::{Loss, Recovery, Waiting};
use agent_model::cause::Cause;
use agent_model::timers::policy::Limit;
use agent_model::units::escaped;

use super::{life, mean, recovered, summary, waits};
use crate::{Advice, NetnsView, plural, time};

/// A program that lost as many has a problem, not an accident.
const ENOUGH: usize = 2;

/// No shorter: a router's restart, a moved virtual machine.
const LEAST: Duration = Duration::from_secs(30);

/// Worth a change in a program only if it ends the wait by as much.
const WORTH: Duration = Duration::from_mins(1);

pub(super) fn rule(place: &NetnsView) -> Vec<Advice> {
    let mut programs = BTreeMap::<&str, Vec<&Loss>>::new();
    for loss in place.outcome.into_iter().flat_map(|outcome| &outcome.losses) {
        if let (Cause::RetransmissionTimeout, Some(process)) = (loss.cause, &loss.process) {
            programs.entry(&process.comm).or_default().push(loss);
        }
    }
    let often = programs.into_iter().filter(|(_, losses)| losses.len() >= ENOUGH);
    often.filter_map(|(comm, losses)| advice(place, comm, &losses)).collect()
}

fn advice(place: &NetnsView, comm: &str, losses: &[&Loss]) -> Option<Advice> {
    let waited = mean(&waits(losses));
    let timeout = proposed(place);
    let sooner = waited.checked_sub(timeout).filter(|sooner| *sooner >= WORTH)?;
    let (count, ms) = (plural(losses.len() as u64, "connection"), timeout.as_millis());
    let comm = escaped(comm);
    Some(Advice {
        setting: format!("TCP_USER_TIMEOUT of {comm}"),
        netns: Some(place.netns),
        now: None,
        proposed: format!("{ms} ms"),
        observation: format!("{comm} learnt of {count} that died only after {}", time(waited)),
        effect: format!(
            "it would have known {} sooner each; {}, all within half of that time",
            time(sooner),
            recovered(summary(place.recoveries(Waiting::Data)))
        ),
        risk: "also limits keepalive and how long data may wait for a peer that does not read".to_owned(),
        command: format!(
            "in {comm}: int ms = {ms}; setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);"
        ),
    })
}

/// Twice what the latest recovery took, in whole seconds.
fn proposed(place: &NetnsView) -> Duration {
    let took = |one: &Recovery| {
        let steps = life(one.rto_ms, place.rto_max(), Limit::Retries2(u8::MAX)).steps;
        steps.get(one.stage as usize).or(steps.last()).map_or(Duration::ZERO, |step| step.elapsed)
    };
    let longest = place.recoveries(Waiting::Data).map(took).max().unwrap_or_default();
    Duration::from_secs((longest * 2).max(LEAST).as_secs().div_ceil(10) * 10)
}
