//! This host itself dropped the packets: what the kernel told of each drop (`kfree_skb`) says who did it.

use std::time::Duration;

use agent_correlate::timeline::{Entry, What};
use agent_model::cause::Cause;
use agent_model::drops::{self, Class};
use agent_model::event::TcpState;
use agent_model::signals::packet_dropped::{Dropped, Role};
use agent_model::signals::retransmit::Resend;
use agent_model::units::{errno, plural, time};

use super::common::{left, lost, owner, sent, timeouts};
use super::silence::{given_up, is_silent};
use super::{Finding, Story, origin, path_mtu_black_hole};

mod words;

/// A reset or an ICMP message of a firewall comes this soon after the packet that it rejects, ns.
const AT_ONCE: u64 = 100_000_000;

const TOO_BIG: &str = "PKT_TOO_BIG";

/// Where its packets were too big, if they were dropped on this host.
pub(super) fn too_big(story: &Story) -> Option<String> {
    let drops = Drops::of(story).filter(|drops| drops.reason == TOO_BIG)?;
    let netns = drops.dropped.netns.map(|netns| drops.named_netns(story, netns));
    let device = drops.device(story).map(|device| format!(" {device}"));
    let count = plural(drops.count, "packet");
    Some(format!(
        "the kernel dropped {count} of it for {TOO_BIG} {}{}",
        netns.unwrap_or_else(|| "on this host".to_owned()),
        device.unwrap_or_default()
    ))
}

/// The drops of the present trouble that are of the last one's kind.
struct Drops<'a> {
    class: Class,
    /// The kernel's name.
    reason: &'a str,
    count: u32,
    first: u64,
    last: u64,
    dropped: Dropped,
    /// Functions, innermost first.
    stack: &'a [Box<str>],
}

/// Of a silence, and of packets that never leave.
pub(super) fn rule(story: &Story) -> Option<Finding> {
    let drops = Drops::of(story).filter(|drops| !drops.is_tcps_own())?;
    // Long segments that die while short ones arrive are told with what to change: there, with this as evidence.
    if drops.reason == TOO_BIG && path_mtu_black_hole::rule(story).is_some() {
        return None;
    }
    let is_its = if story.is_dead() { ended_by(story) } else { holds_up(story, &drops) };
    (is_its && drops.are_most(story)).then(|| finding(story, &drops))
}

/// A firewall of this host that answers: by a RST (`nf_send_reset`, which is no event), or by an ICMP message.
pub(super) fn rejected(story: &Story) -> Option<Finding> {
    let drops = Drops::of(story).filter(|drops| drops.class == Class::Netfilter && story.is_dead())?;
    let reset = story.received().map(|entry| entry.time);
    let icmp =
        (story.error() != 0 && story.error() != libc::ETIMEDOUT && reset.is_none()).then_some(story.time);
    let answer = reset.or(icmp).filter(|answer| answer.saturating_sub(drops.last) < AT_ONCE)?;
    let how = if reset.is_some() { "a RST" } else { "an ICMP message" };
    let who = drops.who();
    let summary = format!(
        "{who} rejected {} with {how}: {} got {}; the peer never saw it",
        drops.whose(),
        owner(story),
        errno(story.error())
    );
    let after = Duration::from_nanos(answer.saturating_sub(drops.last));
    let finding = drops
        .evidence(Finding::new(Cause::RejectedByNetfilter, summary), story)
        .saw(format!("{how} came {} after the packet was dropped", time(after)));
    Some(
        origin::tell(finding, story)
            .saw_if(sent(story))
            .saw_if(lost(story))
            .infer("a rule with `reject` did both: the answer was made on this host, not by the peer")
            .advise(drops.show_rules(story)),
    )
}

/// It died of a timer, or of an error that no RST brought.
fn ended_by(story: &Story) -> bool {
    is_silent(story) || given_up(story) || story.error() != 0 && story.received().is_none()
}

/// A full queue makes room for the next packet: only what follows from it is trouble.
fn holds_up(story: &Story, drops: &Drops) -> bool {
    let connects = story.live_state() == Some(TcpState::SynSent);
    // One packet may be chance, but where there is no way the next one goes none either.
    let enough = if drops.class == Class::Route { 1 } else { 2 };
    let never_leaves = drops.count >= enough && drops.dropped.role == Some(Role::Sender) && waits(story);
    is_silent(story) || drops.class != Class::Queue && (connects || never_leaves)
}

/// Data or the FIN, which is none: who has closed waits for it to be taken.
fn waits(story: &Story) -> bool {
    story.tcp().is_none_or(|tcp| tcp.unacked_bytes() > 0 || tcp.unsent_bytes() > 0)
}

/// What happened since the last recovery; of a stall that is over, during it.
fn trouble<'a>(story: &'a Story) -> &'a [Entry] {
    let mut entries = story.entries();
    while let Some((Entry { what: What::Recovered(_), .. }, before)) = entries.split_last() {
        entries = before;
    }
    let recovered = entries.iter().rposition(|entry| matches!(entry.what, What::Recovered(_)));
    &entries[recovered.map_or(0, |at| at + 1)..]
}

impl<'a> Drops<'a> {
    fn of(story: &'a Story) -> Option<Self> {
        let (last, dropped, class) =
            trouble(story).iter().rev().find_map(|entry| on_the_way(entry, story))?;
        let like = trouble(story).iter().filter_map(|entry| on_the_way(entry, story));
        let like: Vec<_> = like
            .filter(|(_, other, of)| {
                *of == class && (other.netns, other.role) == (dropped.netns, dropped.role)
            })
            .collect();
        let place = like.iter().rev().find_map(|(_, other, _)| other.place);
        Some(Self {
            class,
            reason: reason(dropped, story),
            count: like.iter().fold(0, |sum, (entry, _, _)| sum.saturating_add(entry.count)),
            first: like.first().map_or(last.time, |(first, _, _)| first.time),
            last: last.time + u64::from(last.span_ms) * 1_000_000,
            dropped,
            stack: place.map_or(&[], |place| story.stack_of(place)),
        })
    }

    /// TCP at the receiving end threw it away without a word why: what it answered says more, as the ACK of an old
    /// connection in TIME_WAIT does.
    fn is_tcps_own(&self) -> bool {
        let at = drops::place(self.stack);
        self.class == Class::Other
            && self.reason == drops::UNSPECIFIED
            && at.is_none_or(|function| function.starts_with("tcp_"))
    }

    /// Most of what was sent again was dropped, too: else the path has a part in it.
    fn are_most(&self, story: &Story) -> bool {
        let resent = trouble(story)
            .iter()
            .filter(|entry| matches!(entry.what, What::Retransmit(Resend { stage: 1.., err: 0, .. })));
        let resent = resent.fold(0_u32, |sum, entry| sum.saturating_add(entry.count));
        self.count.saturating_mul(2) >= resent
    }

    fn hook(&self) -> Option<&'static str> {
        drops::netfilter_hook(self.stack)
    }

    fn evidence(&self, finding: Finding, story: &Story) -> Finding {
        let before = Duration::from_nanos(story.time.saturating_sub(self.first));
        let place = drops::place(self.stack).map(|place| format!("in {place}()"));
        let hook = self.hook().map(|hook| format!("at netfilter's hook {hook}"));
        let netns = self.dropped.netns.map(|netns| self.named_netns(story, netns));
        let device = self.device(story);
        let place: Vec<_> = place.into_iter().chain(hook).chain(netns).chain(device).collect();
        finding
            .saw(format!(
                "the kernel dropped {} of it on this host {}, the first one {} before",
                plural(self.count, "packet"),
                self.for_what(),
                time(before)
            ))
            .saw_if((!place.is_empty()).then(|| format!("they were dropped {}", place.join(", "))))
    }
}

/// The kernel's name of it.
fn reason<'a>(dropped: Dropped, story: &Story<'a>) -> &'a str {
    story.host.drop_reasons.get(&i32::from(dropped.reason)).map_or("without a name", |name| name)
}

/// A drop that is no shortage of the socket's.
fn on_the_way<'b>(entry: &'b Entry, story: &Story) -> Option<(&'b Entry, Dropped, Class)> {
    let What::PacketDropped(dropped) = entry.what else { return None };
    let stack = dropped.place.map_or(&[][..], |place| story.stack_of(place));
    let class = drops::class_at(reason(dropped, story), stack);
    (class != Class::Shortage).then_some((entry, dropped, class))
}

fn finding(story: &Story, drops: &Drops) -> Finding {
    let cause = cause(drops.class);
    let count = plural(drops.count, "packet");
    let summary = format!(
        "{} {} {} ({count}, {}): {}",
        drops.who(),
        drops.verb(),
        drops.whose(),
        drops.why(),
        end(story)
    );
    let finding = drops.evidence(Finding::new(cause, summary), story).saw_if(drops.full_table(story));
    let stage = story.stage();
    let finding = finding
        .saw_if(timeouts(story).filter(|_| stage > 0))
        .saw_if(sent(story))
        .saw_if(story.is_dead().then(|| lost(story)).flatten());
    let finding = if cause == Cause::DroppedByNetfilter {
        finding.infer(format!("{} did it: not the peer, and not the path", drops.tool()))
    } else {
        finding
    };
    let finding = match drops.meaning() {
        Some(meaning) => finding.infer(format!("{} means that {}", drops.what(), meaning.what)),
        None => finding,
    };
    drops.advice(story).into_iter().fold(finding, Finding::advise)
}

fn cause(class: Class) -> Cause {
    match class {
        Class::Netfilter => Cause::DroppedByNetfilter,
        Class::Route => Cause::NoRoute,
        Class::Neighbour => Cause::NextHopSilent,
        Class::Queue => Cause::LocalQueueFull,
        Class::ReversePath => Cause::ReversePathFilter,
        Class::Checksum => Cause::BadChecksum,
        Class::Bpf => Cause::DroppedByBpf,
        Class::Shortage | Class::Noise | Class::Other => Cause::DroppedHere,
    }
}

/// What it came to.
fn end(story: &Story) -> String {
    if !story.is_dead() {
        return if story.outlook.is_some() { left(story) } else { format!("{} waits", owner(story)) };
    }
    match story.error() {
        0 => format!("{} gave up", owner(story)),
        error => format!("the kernel gave up with {}", errno(error)),
    }
}
