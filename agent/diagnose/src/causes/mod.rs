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
mod keepalive_timeout;
mod killed;
mod linger_abort;
mod listener_closed;
mod memory;
mod orphan_timeout;
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
    // Ends without a reset: timers. The narrower limit first.
    silence::user_timeout,
    zero_window::timeout,
    silence::connect_timeout,
    orphan_timeout::rule,
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
    let finding = holders::name(finding, story);
    let stage = story.recovered().filter(|_| story.phase == Phase::Recovered);
    let Some(stage) = stage else { return Some(finding) };
    let summary = format!("goes on after {}; {}", plural(stage, "timeout"), finding.summary);
    Some(Finding { summary, ..finding })
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
