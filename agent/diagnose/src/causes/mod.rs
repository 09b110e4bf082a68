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
mod dropped_here;
mod family;
mod holders;
mod icmp_unreachable;
mod keepalive_timeout;
mod killed;
mod linger_abort;
mod listener_closed;
mod memory;
mod no_local_port;
mod no_route;
mod no_such_connection;
mod origin;
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

/// A rule, and the causes that it finds: no others, as `find` asserts in every test.
struct Rule {
    finds: &'static [Cause],
    ask: fn(&Story) -> Option<Finding>,
}

macro_rules! rules {
    ($($rule:path => $($cause:ident)|+;)*) => {
        /// The rules, most certain first: the kernel's own word for a reset comes before what the socket's numbers
        /// suggest, what ended a connection before what only troubled it.
        const RULES: &[Rule] = &[$(Rule { finds: &[$(Cause::$cause),+], ask: $rule }),*];
    };
}

rules! {
    // Resets that this side sent, distinguished by the kernel's reason or stack: they exclude one another.
    killed::rule => Killed;
    listener_closed::rule => ListenerClosed;
    closed_with_unread_data::rule => ClosedWithUnreadData;
    linger_abort::rule => LingerAbort;
    disconnect::rule => Disconnect;
    keepalive_timeout::rule => KeepaliveTimeout;
    too_many_orphans::rule => TooManyOrphans | OutOfTcpMemory;
    orphan_timeout::fin_wait2 => OrphanTimeout;
    // A RST that `tcp_reset` makes up for data after close looks received: before the peer's.
    data_after_close::rule => DataAfterClose;
    // What this host did to the packets comes before what their silence, or an answer to them, suggests.
    dropped_here::rejected => RejectedByNetfilter;
    dropped_here::rule => DroppedByNetfilter | NoRoute | NextHopSilent | LocalQueueFull | ReversePathFilter
        | BadChecksum | DroppedByBpf | DroppedHere;
    no_route::rule => NoRoute;
    // Handshakes.
    accept_queue::rule => AcceptQueueFull | SynQueueFull;
    connection_refused::rule => ConnectionRefused;
    no_local_port::rule => NoLocalPort;
    icmp_unreachable::rule => IcmpUnreachable;
    // Seen from the client, whose SYNs the full queue drops: before a silence.
    accept_queue::seen_by_client => AcceptQueueFull;
    // Ends without a reset: timers. The narrower limit first.
    silence::user_timeout => UserTimeout;
    zero_window::timeout => ZeroWindowTimeout;
    silence::connect_timeout => ConnectTimeout;
    orphan_timeout::rule => OrphanTimeout;
    // A silence that only long segments meet: before the silence.
    path_mtu_black_hole::rule => PathMtuBlackHole;
    silence::retransmission_timeout => RetransmissionTimeout;
    // Who made the RST, where that is known: before the RST of somebody.
    no_such_connection::rule => NoSuchConnection;
    peer_reset::rule => PeerReset;
    // What troubles a living connection. Memory first: it makes all the others.
    memory::rule => OutOfTcpMemory | MemoryPressure | CgroupMemoryLimit;
    socket_buffers::receive => ReceiveBufferFull;
    zero_window::rule => ZeroWindow;
    path_quality::spurious_retransmit => SpuriousRetransmit;
    path_quality::reordering => Reordering;
    path_quality::tail_loss => TailLoss;
    // A buffer that is full at this moment says more than losses at some time before.
    socket_buffers::send => SendBufferFull;
    path_quality::lossy_path => LossyPath;
    unknown::rule => Unknown;
}

// A cause without a rule does not compile; the error names the first one.
const _: () = {
    let mut at = 0;
    while at < Cause::ALL.len() {
        assert!(has_rule(Cause::ALL[at]), "{}", Cause::WORDS[at]);
        at += 1;
    }
};

/// By numbers: neither iterators nor `==` of an enum are to be had at compile time.
const fn has_rule(cause: Cause) -> bool {
    let mut rule = 0;
    while rule < RULES.len() {
        let finds = RULES[rule].finds;
        let mut at = 0;
        while at < finds.len() {
            if finds[at] as usize == cause as usize {
                return true;
            }
            at += 1;
        }
        rule += 1;
    }
    false
}

/// The first rule's answer. Of a stall that is over it says so first.
pub fn find(story: &Story) -> Option<Finding> {
    let finding = RULES.iter().find_map(|rule| rule.ask(story))?;
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

impl Rule {
    fn ask(&self, story: &Story) -> Option<Finding> {
        let Self { finds, ask } = self;
        let finding = ask(story)?;
        debug_assert!(finds.contains(&finding.cause), "`RULES` has no {} for its rule", finding.cause);
        Some(finding)
    }
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
