//! The table of signals: one number a signal, one word a signal at every layer. What names signals, here and in
//! the daemon, is made of it by a macro of its own that takes the rows; a list by hand would be a second table.

/// Gives the table to the macro `$make`.
///
/// `events` have a line, `found` has a record that becomes none, `counters` have no record at all. A row's names are
/// those of its number, of its word (which is the program's too) and of its types. Its columns:
///
/// - `number`: its place in the tables of both sides; recordings have it, so it never changes.
/// - `hook`: where the program sits in the kernel.
/// - `since`: the first kernel that has the hook, with all that the program calls.
/// - `need`: whether the agent starts without it.
/// - `detail`: bytes of the structure in [`crate::record`] that holds the fields of this signal alone.
/// - `counted`: what its counters distinguish, and the values that occur.
/// - `without`: what is lost without it.
#[macro_export]
macro_rules! signals {
    ($make:ident) => {
        $make! {
            events {
                /// A segment was sent again, or the attempt failed (6.17+).
                RETRANSMIT retransmit Retransmit {
                    number: 1,
                    hook: Tracepoint("tcp_retransmit_skb"), since: "5.10", need: required,
                    detail: 24,
                    counted: by Kind in [0..retransmit::END, FAILED..FAILED + retransmit::END],
                    without: "retransmissions, stalls and their deadlines",
                }
                /// A SYN-ACK of a half-open connection was sent again.
                SYNACK_RETRANSMIT synack_retransmit SynackRetransmit {
                    number: 2,
                    hook: Tracepoint("tcp_retransmit_synack"), since: "5.10", need: optional,
                    detail: 16,
                    counted: by Kind in [retransmit::SYNACK..retransmit::SYNACK + 1],
                    without: "retransmitted SYN-ACKs of half-open connections",
                }
                /// This host sent a RST.
                RESET_SENT reset_sent ResetSent {
                    number: 3,
                    hook: Tracepoint("tcp_send_reset"), since: "5.10", need: required,
                    detail: 28,
                    counted: by Reason in [0..RESET_REASONS, REASON_ABSENT..REASON_ABSENT + 1],
                    without: "resets that this host sends",
                }
                /// A RST was accepted.
                RESET_RECEIVED reset_received ResetReceived {
                    number: 4,
                    hook: Tracepoint("tcp_receive_reset"), since: "5.10", need: optional,
                    detail: 8,
                    counted: by State in [STATES],
                    without: "resets that peers send",
                }
                /// Memory for a socket was refused.
                BUF_LIMIT_EXCEEDED buf_limit_exceeded BufLimitExceeded {
                    number: 5,
                    hook: Tracepoint("sock_exceed_buf_limit"), since: "5.10", need: optional,
                    detail: 32,
                    counted: by Direction in [0..2],
                    without: "socket memory refused by tcp_mem or a memory cgroup",
                }
                /// A datagram did not fit SO_RCVBUF. Never TCP's receive path.
                RCVQUEUE_FULL rcvqueue_full RcvqueueFull {
                    number: 6,
                    hook: Tracepoint("sock_rcvqueue_full"), since: "5.10", need: optional,
                    detail: 16,
                    counted: by Nothing in [0..1],
                    without: "full receive queues of raw and ping sockets (never TCP)",
                }
                /// This host dropped a packet of TCP: sent, received or in transit, for whatever reason.
                PACKET_DROPPED packet_dropped PacketDropped {
                    number: 10,
                    hook: Tracepoint("kfree_skb"), since: "5.17", need: optional,
                    detail: 48,
                    counted: by DropReason in [0..DROP_REASONS],
                    without: "packets that this host drops: firewall, route, neighbour, queue, socket memory",
                }
                /// A TCP socket is about to change state.
                STATE_CHANGED state_changed StateChanged {
                    number: 7,
                    hook: Tracepoint("inet_sock_set_state"), since: "5.10", need: required,
                    detail: 16,
                    counted: by State in [STATES],
                    without: "timeouts, failed connects, and who connected or listens",
                }
                /// A TCP socket ends; its address may be used again at once.
                SOCK_DESTROYED sock_destroyed SockDestroyed {
                    number: 8,
                    hook: Tracepoint("tcp_destroy_sock"), since: "5.10", need: required,
                    detail: none,
                    counted: by Nothing in [],
                    without: "the end of a connection: addresses of sockets are reused at once",
                }
            }
            found {
                /// An open file of a process is a TCP socket.
                SOCK_HELD sock_held SockHeld {
                    number: 9,
                    hook: Iterator("task_file"), since: "5.11", need: optional,
                    detail: 32,
                    counted: by Nothing in [],
                    without: "who accepted a connection, who holds it open, and what was open before the start",
                }
            }
            counters {
                /// A process forked another.
                PROCESS_FORKED process_forked {
                    hook: Tracepoint("sched_process_fork"), since: "5.10", need: optional,
                    without: "how many children a server forked",
                }
                /// A process ended.
                PROCESS_EXITED process_exited {
                    hook: Tracepoint("sched_process_exit"), since: "5.10", need: optional,
                    without: "how many of a server's children ended",
                }
                /// The packet of a RST that is about to be accepted.
                RESET_SEGMENT reset_segment {
                    hook: Function("tcp_reset"), since: "5.11", need: optional,
                    without: "how many routers away a received RST was made, and whether on this host",
                }
            }
        }
    };
}

macro_rules! numbers {
    (events { $($event:tt)* } found { $($found:tt)* } counters { $($counter:tt)* }) => {
        numbers! { @ $($event)* $($found)* }
    };
    (@ $($(#[$doc:meta])* $NUMBER:ident $word:ident $Type:ident {
        number: $number:literal, hook: $hook:ident($kernel:literal), since: $since:literal, $($column:tt)*
    })*) => {
        $(
            $(#[$doc])*
            #[doc = concat!("\n\n`", $kernel, "`, since Linux ", $since, ".")]
            pub const $NUMBER: u16 = $number;
        )*
        /// Number of signals plus one, for tables indexed by signal.
        pub const END: u16 = 1 + [$($NUMBER),*].len() as u16;

        const _: () = {
            let mut is_taken = [false; END as usize];
            $(
                assert!($NUMBER != 0 && !is_taken[$NUMBER as usize], "numbers go from 1 on, each for one signal");
                is_taken[$NUMBER as usize] = true;
            )*
        };
    };
}

signals! { numbers }

#[cfg(feature = "user")]
mod user;
#[cfg(feature = "user")]
pub use user::{By, Hook, PROBES, Probe, WORDS, word};
