//! The scenes of the demo.

use std::any::Any;
use std::time::Duration;

use crate::link::{Family, Pair};
use crate::scenes::{death, reset, retransmit, server};

/// What a scene leaves open: its end would have events of its own.
pub type Left = Box<dyn Any + Send>;

/// One scene.
#[derive(Debug)]
pub struct Act {
    /// In a few words.
    pub title: &'static str,
    /// What happens, as somebody would see it who knows all.
    pub happens: &'static str,
    /// Which of the agent's lines has the answer.
    pub look: &'static str,
    /// What the agent must say, in this order: the words of its lines.
    pub says: &'static [&'static str],
    /// Its two hosts.
    pub hosts: fn() -> Pair,
    /// Lets it happen.
    pub play: fn(&Pair) -> Left,
}

/// All, in order.
pub const ACTS: [Act; 10] = [
    Act {
        title: "A server that resets",
        happens: "A server forks a child for each connection. The client sends 64 KiB at once; the child reads 16 \
            bytes, writes a page of 600 KiB and exits. The client expects the page and gets \"connection reset by \
            peer\".",
        look: "\"closed_with_unread_data\": lab-child exited without reading what the client had sent, so the kernel \
            had to reset, and the end of the page was lost with it. The line names the child and counts every byte.",
        says: &["closed_with_unread_data"],
        hosts: Pair::new,
        play: |pair| Box::new(server::fork_per_connection(pair, Family::V4, 600 << 10)),
    },
    Act {
        title: "A refused connection",
        happens: "A client connects to a port on which nobody listens.",
        look: "\"connection_refused\": the SYN found no socket. It is told once, of the client, though both ends are \
            on this machine.",
        says: &["connection_refused"],
        hosts: Pair::new,
        play: |pair| Box::new(reset::no_socket(pair, Family::V4)),
    },
    Act {
        title: "A listen queue that overflows",
        happens: "A server calls listen() with a backlog of 1 and does not accept, with tcp_abort_on_overflow set. \
            The client sees its connection reset.",
        look: "\"accept_queue_full\", not a refused connection: somebody listens, but does not accept fast enough. \
            For the client it is a \"peer_reset\".",
        says: &["accept_queue_full"],
        hosts: Pair::new,
        play: |pair| Box::new(reset::accept_queue_overflow(pair, Family::V4)),
    },
    Act {
        title: "A reset from the peer",
        happens: "The server has stopped to read and then closes. The client still has data to send, and its next \
            write fails with \"connection reset by peer\".",
        look: "\"peer_reset\" says what the client lost, to the byte. The peer happens to be on this machine too: its \
            own line, \"closed_with_unread_data\", says why it did that.",
        says: &["peer_reset"],
        hosts: Pair::new,
        play: |pair| Box::new(reset::by_peer(pair, Family::V4)),
    },
    Act {
        title: "Both ends on one host",
        happens: "Two programs on the same host talk over 127.0.0.1; one closes with unread data.",
        look: "Each end has its line, and they belong together: \"tcpwhy why\" shows the other end with each, and \
            the counter of deaths counts them once.",
        says: &["closed_with_unread_data"],
        hosts: Pair::new,
        play: |pair| Box::new(reset::on_one_host(&pair.server, 1000)),
    },
    Act {
        title: "A link that dies in silence",
        happens: "All packets to the server are dropped, and nobody is told. The client has written 100 bytes. \
            tcp_retries2 is set to 3 here; with the usual 15 this takes 15 minutes.",
        look: "each timeout says when the kernel will give up, and by which rule. Compare with the instant of the \
            last line, \"retransmission_timeout\".",
        says: &["tcp_retries2", "gave up with ETIMEDOUT"],
        hosts: Pair::without_probes,
        play: |pair| Box::new(death::silence(pair, Family::V4, 3)),
    },
    Act {
        title: "A recovery before the deadline",
        happens: "The same, but packets pass again after two timeouts.",
        look: "\"over\": the connection goes on, its programs were told of nothing. How many timeouts it took goes \
            into a histogram, from which to choose tcp_retries2.",
        says: &["#2", "over lossy_path"],
        hosts: Pair::without_probes,
        play: |pair| Box::new(retransmit::timeouts(pair, Family::V4, 2)),
    },
    Act {
        title: "A retransmission that was not needed",
        happens: "Nothing is lost; the acknowledgement is late. The timer fires, and the peer gets the data twice.",
        look: "\"spurious_retransmit\": the peer reported the duplicate (DSACK). The path is slow, not lossy.",
        says: &["over spurious_retransmit"],
        hosts: Pair::without_probes,
        play: |pair| Box::new(retransmit::spurious(pair, Family::V4)),
    },
    Act {
        title: "A host that does not answer",
        happens: "A client connects to a host behind a firewall that drops in silence; it gives up after one more \
            SYN (tcp_syn_retries is set to 1).",
        look: "\"connect_timeout\", with the instant of the end foretold at the first timeout. A closed port would \
            have answered.",
        says: &["connect_timeout", "gave up with ETIMEDOUT"],
        hosts: Pair::new,
        play: |pair| Box::new(death::connect(pair, Family::V4, 1)),
    },
    Act {
        title: "A reader that stops",
        happens: "The receiving program hangs: its buffer fills up, its window shuts over data that is on its way, \
            and the sender tries again and again.",
        look: "\"zero_window\", though it looks like a loss at first: the network is fine and the peer's kernel \
            answers, its program does not read. Such a wait has no end: nobody is given up who answers.",
        says: &["zero_window"],
        hosts: Pair::without_probes,
        play: |pair| Box::new(retransmit::shrunk_window(pair, Family::V4, 3)),
    },
];

/// How long lines of a scene that is over may still come: a walk over open files finds a recovery without an event.
pub const AFTERMATH: Duration = Duration::from_secs(6);
