//! One file a cause, or a few that share their evidence; and the order in which they are asked.

use agent_model::cause::Cause;
use agent_model::units::plural;

use super::story::Story;
use super::{Certainty, Evidence, Phase};

mod accept_queue;
mod closed_with_unread_data;
mod common;
mod connection_refused;
mod data_after_close;
mod disconnect;
mod family;
mod holders;
mod icmp_unreachable;
mod keepalive_timeout;
mod killed;
mod linger_abort;
mod listener_closed;
mod memory;
mod no_local_port;
mod orphan_timeout;
mod path_mtu_black_hole;
mod path_quality;
mod peer_reset;
mod shortage;
mod silence;
mod socket_buffers;
mod too_many_orphans;
mod unknown;
mod zero_window;

/// What a rule found.
#[derive(Clone, Debug)]
pub struct Finding {
    pub cause: Cause,
    pub summary: String,
    pub evidence: Vec<Evidence>,
    pub advice: Vec<String>,
}

type Rule = fn(&Story) -> Option<Finding>;

/// The rules, most certain first: the kernel's own word for a reset comes before what the socket's numbers
/// suggest, what ended a connection before what only troubled it.
const RULES: &[Rule] = &[
    // Resets that this side sent, told apart by the kernel's reason or stack: they exclude one another.
    killed::rule,
    listener_closed::rule,
    closed_with_unread_data::rule,
    linger_abort::rule,
    disconnect::rule,
    keepalive_timeout::rule,
    too_many_orphans::rule,
    orphan_timeout::fin_wait2,
    // A RST that `tcp_reset` makes up for data after close looks received: before the peer's.
    data_after_close::rule,
    // Handshakes.
    accept_queue::rule,
    connection_refused::rule,
    no_local_port::rule,
    icmp_unreachable::rule,
    // Seen from the client, whose SYNs the full queue drops: before a silence.
    accept_queue::seen_by_client,
    // Ends without a reset: timers. The narrower limit first.
    silence::user_timeout,
    zero_window::timeout,
    silence::connect_timeout,
    orphan_timeout::rule,
    // A silence that only long segments meet: before the silence.
    path_mtu_black_hole::rule,
    silence::retransmission_timeout,
    peer_reset::rule,
    // What troubles a living connection. Memory first: it makes all the others.
    memory::rule,
    socket_buffers::receive,
    zero_window::rule,
    path_quality::spurious_retransmit,
    path_quality::reordering,
    path_quality::tail_loss,
    // A buffer that is full at this moment says more than losses at some time before.
    socket_buffers::send,
    path_quality::lossy_path,
    unknown::rule,
];

/// The first rule's answer. Of a stall that is over it says so first.
pub fn find(story: &Story) -> Option<Finding> {
    let finding = RULES.iter().find_map(|rule| rule(story))?;
    let finding = match &story.family {
        Some(relatives) => family::name(finding, relatives),
        None => finding,
    };
    let finding = to_itself(holders::name(finding, story), story);
    let stage = story.recovered().filter(|_| story.phase == Phase::Recovered);
    let Some(stage) = stage else { return Some(finding) };
    let summary = format!("goes on after {}; {}", plural(stage, "timeout"), finding.summary);
    Some(Finding { summary, ..finding })
}

/// What troubled a connection while it lived; of one that ended in order, of which [`find`] says nothing.
pub fn past(story: &Story) -> Option<Finding> {
    [
        path_quality::spurious_retransmit,
        path_quality::reordering,
        path_quality::tail_loss,
        path_quality::lossy_path,
    ]
    .iter()
    .find_map(|rule| rule(story))
}

/// `connect()` to a port of its own range on which nobody listens may meet itself (simultaneous open, RFC 9293 §3.5).
fn to_itself(finding: Finding, story: &Story) -> Finding {
    let ends = story.connection.map(|known| (known.identity.local(), known.identity.remote()));
    let Some((own, _)) = ends.filter(|(local, remote)| local == remote) else { return finding };
    let summary = format!("connected to itself ({own} is both ends); {}", finding.summary);
    Finding { summary, ..finding }
        .saw(format!("{own} is its local and its remote end: connect() was given the port that it asked for"))
        .advise(
            "nobody listens there: a client that tries again and again meets itself in the end. Have the service listen \
                outside net.ipv4.ip_local_port_range (or net.ipv4.ip_local_reserved_ports), and have the client compare \
                getsockname() with getpeername()",
        )
}

impl Finding {
    fn new(cause: Cause, summary: String) -> Self {
        Self { cause, summary, evidence: Vec::new(), advice: Vec::new() }
    }

    fn with(mut self, certainty: Certainty, text: impl Into<String>) -> Self {
        self.evidence.push(Evidence { certainty, text: text.into() });
        self
    }

    fn saw(self, text: impl Into<String>) -> Self {
        self.with(Certainty::Observed, text)
    }

    fn saw_if(self, text: Option<String>) -> Self {
        match text {
            Some(text) => self.saw(text),
            None => self,
        }
    }

    fn infer(self, text: impl Into<String>) -> Self {
        self.with(Certainty::Inferred, text)
    }

    fn advise(mut self, text: impl Into<String>) -> Self {
        self.advice.push(text.into());
        self
    }
}
