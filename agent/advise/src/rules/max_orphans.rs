//! `tcp_max_orphans`: where closed sockets were reset for being too many.

use agent_model::cause::Cause;
use agent_model::units::size;

use crate::{Advice, Gathered, amount, plural, sysctl};

const NAME: &str = "net.ipv4.tcp_max_orphans";

/// What an orphan takes at most (Documentation/networking/ip-sysctl.rst).
const EACH: u64 = 64 << 10;

pub(super) fn rule(gathered: &Gathered) -> Vec<Advice> {
    let Some(memory) = &gathered.memory else { return Vec::new() };
    let lines = memory.log.map_or(0, |log| log.too_many_orphans);
    let resets = gathered.deaths(Cause::TooManyOrphans);
    let Some(now) = gathered.value(NAME).filter(|_| resets + lines > 0) else { return Vec::new() };
    let proposed = now.saturating_mul(2);
    vec![Advice {
        setting: NAME.to_owned(),
        netns: None,
        now: Some(now.to_string()),
        proposed: proposed.to_string(),
        observation: format!(
            "{} for too many orphans, {} in the kernel log; {} of {now} now",
            amount(resets, "closed socket was reset", "closed sockets were reset"),
            plural(lines, "line"),
            memory.orphans,
        ),
        effect: "closed sockets may finish their last data; idle ones count up to four times".to_owned(),
        risk: format!(
            "up to {} more of kernel memory",
            size(proposed.saturating_sub(now).saturating_mul(EACH))
        ),
        command: sysctl(NAME, &proposed.to_string()),
    }]
}
