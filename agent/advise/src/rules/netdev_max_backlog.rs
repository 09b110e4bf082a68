//! `netdev_max_backlog`: where packets found the queue of a processor full.

use crate::{Advice, Gathered, plural, sysctl};

const NAME: &str = "net.core.netdev_max_backlog";
const REASON: &str = "CPU_BACKLOG";
/// Beyond, what waits is old before its turn comes.
const MOST: u64 = 16_384;

pub(super) fn rule(gathered: &Gathered) -> Vec<Advice> {
    let dropped = gathered.dropped(REASON);
    let Some(now) = gathered.value(NAME).filter(|now| dropped > 0 && *now < MOST) else { return Vec::new() };
    let proposed = (now * 2).min(MOST);
    vec![Advice {
        setting: NAME.to_owned(),
        netns: None,
        now: Some(now.to_string()),
        proposed: proposed.to_string(),
        observation: format!(
            "at least {} of TCP found the queue of their processor full ({REASON})",
            plural(dropped, "packet")
        ),
        effect: format!(
            "{proposed} packets may wait for a processor; if it is busy all the time it drops as many as before: \
             then spread the load (RPS, more queues of the device)"
        ),
        risk: "a longer queue is delay, and memory of a packet each".to_owned(),
        command: sysctl(NAME, &proposed.to_string()),
    }]
}
