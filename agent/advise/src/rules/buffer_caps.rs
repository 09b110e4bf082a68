//! `rmem_max`, `wmem_max`: where programs in trouble asked for larger buffers than they may have.

use agent_model::units::size;

use crate::{Advice, Gathered, plural, sysctl};

pub(super) fn rule(gathered: &Gathered) -> Vec<Advice> {
    let caps = [("net.core.rmem_max", "SO_RCVBUF"), ("net.core.wmem_max", "SO_SNDBUF")];
    let rows = caps.into_iter().zip(gathered.capped).filter(|(_, count)| *count > 0);
    rows.filter_map(|((name, option), count)| {
        let now = gathered.value(name)?;
        let proposed = (now * 4).min(32 << 20);
        (proposed > now).then(|| Advice {
            setting: name.to_owned(),
            netns: None,
            now: Some(now.to_string()),
            proposed: proposed.to_string(),
            observation: format!(
                "{} in trouble whose {option} is exactly what {name} allows: the program asked for as much or more",
                plural(count, "connection")
            ),
            effect: format!(
                "{option} up to {} is granted; or leave the option unset, then the kernel sizes the buffer itself",
                size(proposed)
            ),
            risk: "each such socket may take that much kernel memory".to_owned(),
            command: sysctl(name, &proposed.to_string()),
        })
    })
    .collect()
}
