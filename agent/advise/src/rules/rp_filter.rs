//! `rp_filter`: where packets came by another device than their answers would leave by.

use crate::{Advice, NetnsView, plural};

const NAME: &str = "net.ipv4.conf.all.rp_filter";
const REASON: &str = "IP_RPFILTER";
/// From any device that has a way back, whichever (RFC 3704 §2.4).
const LOOSE: &str = "2";

pub(super) fn rule(place: &NetnsView) -> Vec<Advice> {
    let dropped = place.dropped(REASON);
    if dropped == 0 {
        return Vec::new();
    }
    vec![Advice {
        setting: NAME.to_owned(),
        netns: Some(place.netns),
        now: place.value(NAME).map(|now| now.to_string()),
        proposed: LOOSE.to_owned(),
        observation: format!(
            "at least {} of TCP came by a device by which their answer would not leave ({REASON})",
            plural(dropped, "packet")
        ),
        effect:
            "packets pass if any device leads back to their source: of `all` and of the device the larger \
            value holds. Better: mend the routes, if the two ways are not meant"
                .to_owned(),
        risk: "packets with a source that belongs behind another device are taken as well".to_owned(),
        command: place.command(NAME, LOOSE),
    }]
}
