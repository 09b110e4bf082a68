//! A connection that lives on, and sent again: what the kinds of retransmission say about the path.

use agent_model::cause::Cause;
use agent_model::event::RetransmitKind as Kind;
use agent_model::units::plural;

use super::{Finding, Story};

/// DSACK undid all of it: what was sent again had arrived (`tcp_try_undo_dsack`). Of a segment that was sent
/// again several times one report is enough: its first copy had arrived, only the reports were lost.
pub(super) fn spurious_retransmit(story: &Story) -> Option<Finding> {
    let (raw, again) = (story.raw()?, again(story)?);
    let repeats = story.repeats();
    let reported = raw.dsack_dups.saturating_sub(needless_probes(story));
    (reported > 0 && reported.saturating_add(repeats) >= again).then_some(())?;
    Some(
        Finding::new(
            Cause::SpuriousRetransmit,
            format!(
                "{} sent again had arrived: the timeout was too \
            short, nothing was lost",
                plural(again, "segment")
            ),
        )
        .saw(format!(
            "the peer reported {} (DSACK) of {again} sent \
                again",
            plural(reported, "duplicate")
        ))
        .saw_if((repeats > 0).then(|| format!("{repeats} of them sent the same segment once more")))
        .saw(round_trip(story))
        .infer(
            "the round trip grew suddenly (a wireless link, a paused virtual machine, a long \
                queue), or packets overtook one another",
        )
        .advise(
            "look at the path's delay; a longer minimum (`ip route change ... rto_min 400ms`) \
                avoids the resends and makes every true loss cost that much more",
        ),
    )
}

pub(super) fn reordering(story: &Story) -> Option<Finding> {
    let (raw, again) = (story.raw()?, again(story)?);
    let by_timer = story.segments(Kind::Reorder);
    (by_timer > 0 && by_timer.saturating_mul(2) >= again).then_some(())?;
    Some(
        Finding::new(
            Cause::Reordering,
            format!(
                "packets overtake one another: {} sent again by RACK's \
            reordering timer",
                plural(by_timer, "segment")
            ),
        )
        .saw(format!(
            "{} of {again} were sent by the reordering timer; reordering seen: {} \
                packets",
            plural(by_timer, "resend"),
            raw.reordering
        ))
        .saw(round_trip(story))
        .infer(
            "several paths share the packets of one connection (bonding, ECMP by packet, a \
                multi-queue device)",
        )
        .advise(
            "hash by connection, not by packet, where the path splits; that costs the balance \
                between the links",
        ),
    )
}

pub(super) fn tail_loss(story: &Story) -> Option<Finding> {
    let again = again(story)?;
    let probes = story.segments(Kind::TailLossProbe).saturating_sub(needless_probes(story));
    (probes > 0 && probes.saturating_mul(2) >= again).then_some(())?;
    Some(
        Finding::new(
            Cause::TailLoss,
            format!(
                "the last packets of a burst were lost or late: \
            {}",
                plural(probes, "tail loss probe")
            ),
        )
        .saw(format!("{} of {again} were tail loss probes", plural(probes, "resend")))
        .saw(round_trip(story))
        .infer("bursts end in a full queue, or the peer delays its ACKs longer than two round trips")
        .advise(
            "pacing (sch_fq) flattens bursts; net.ipv4.tcp_early_retrans=3 must stay for the \
                probes to come at all",
        ),
    )
}

pub(super) fn lossy_path(story: &Story) -> Option<Finding> {
    let (raw, again) = (story.raw()?, again(story)?);
    let timeouts = story.segments(Kind::Timeout);
    let percent = f64::from(again) * 100.0 / f64::from(raw.data_segs_out.max(again).max(1));
    Some(
        Finding::new(
            Cause::LossyPath,
            format!(
                "packets are lost: {} sent again, {percent:.1} % of the \
            data segments",
                plural(again, "segment")
            ),
        )
        .saw(format!(
            "{again} sent again of {} data segments: {timeouts} by timeout, {} by fast \
                recovery",
            raw.data_segs_out,
            story.segments(Kind::Fast)
        ))
        .saw(round_trip(story))
        .infer("loss on the way to the peer, or of its ACKs on the way back")
        .advise(
            "`ip -s link` and `tc -s qdisc` on both hosts show drops of their own; what they do \
                not show happens between them",
        ),
    )
}

/// Segments sent again that count: a tail loss probe whose segment had arrived, as the peer reported, is how TCP asks
/// for an ACK that is late, and no trouble.
fn again(story: &Story) -> Option<u32> {
    let lives = !story.is_dead() && story.connection.is_some();
    Some(story.sent_again().saturating_sub(needless_probes(story))).filter(|again| lives && *again > 0)
}

fn needless_probes(story: &Story) -> u32 {
    let reported = story.raw().map_or(0, |raw| raw.dsack_dups);
    reported.min(story.segments(Kind::TailLossProbe))
}

fn round_trip(story: &Story) -> String {
    let tcp = story.tcp();
    let (srtt, cwnd) = tcp.map_or((0, 0), |tcp| (tcp.srtt_us(), tcp.raw.snd_cwnd));
    format!("round trip {srtt} µs, congestion window {cwnd} packets")
}
