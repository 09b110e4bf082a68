//! The part of a record that differs from signal to signal: one type each.

#[cfg(feature = "user")]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Detail of [`crate::signal::RETRANSMIT`].
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy, Debug)]
pub struct Retransmit {
    /// `TCP_SKB_CB(skb)->seq`.
    pub seq: u32,
    /// `TCP_SKB_CB(skb)->end_seq`.
    pub end_seq: u32,
    /// Result of the send: 0 sent, negative errno, 1 dropped by the local qdisc. Always 0 before 6.17,
    /// whose tracepoint is silent on failures.
    pub err: i32,
    /// One of [`crate::retransmit`].
    pub kind: u16,
    /// Segments in the skb (`tcp_gso_segs`), at least 1.
    pub segments: u16,
    /// TCP flags of the segment (FIN 1, SYN 2, RST 4, PSH 8, ACK 16).
    pub tcp_flags: u8,
    /// Zero.
    pub reserved: [u8; 7],
}

/// Detail of [`crate::signal::SYNACK_RETRANSMIT`]. The endpoint is the request's, its `sk` the listener.
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy, Debug)]
pub struct SynackRetransmit {
    /// Retransmissions before this one (`request_sock.num_retrans`).
    pub retransmits: u8,
    /// Timer expiries before this one (`request_sock.num_timeout`).
    pub timeouts: u8,
    /// 1: the answer to the client's repeated SYN, which does not count as a timeout; 0: the timer's.
    pub duplicate_syn: u8,
    /// Zero.
    pub reserved: u8,
    /// Half-open connections of the listener (`icsk_accept_queue.qlen`).
    pub syn_queue: u32,
    /// Connections waiting for accept (`sk_ack_backlog`).
    pub accept_queue: u32,
    /// Limit of both (`sk_max_ack_backlog`: the backlog of listen(), at most somaxconn).
    pub backlog: u32,
}

/// Detail of [`crate::signal::RESET_SENT`].
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy, Debug)]
pub struct ResetSent {
    /// `enum sk_rst_reason` of the running kernel, or [`super::NO_REASON`].
    pub reason: i32,
    /// Kernel stack id in `STACKS` (active resets only), or [`super::NO_STACK`].
    pub stack: i32,
    /// 1: sent on this side's initiative (close, abort, timer); 0: the answer to a segment.
    pub active: u8,
    /// TCP flags of the segment that was answered; 0 if active.
    pub trigger_flags: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// Sequence number of the segment that was answered.
    pub trigger_seq: u32,
    /// Acknowledgement number of the segment that was answered.
    pub trigger_ack: u32,
    /// Payload bytes of the segment that was answered.
    pub trigger_len: u32,
    /// How the running task's process ends: [`EXITING`] and more; 0 if it goes on.
    pub exit: u32,
}

/// [`ResetSent::exit`]: the task ends (`PF_EXITING`). The low 16 bits are its `exit_code`, as wait(2) has it.
pub const EXITING: u32 = 1 << 31;
/// [`ResetSent::exit`]: the kernel chose its process for want of memory (`signal_struct.oom_mm`).
pub const OOM_VICTIM: u32 = 1 << 30;

/// Detail of [`crate::signal::RESET_RECEIVED`]: of the RST's own packet.
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy, Debug, Default)]
pub struct ResetReceived {
    /// Index of the device that it came in by (`skb_iif`); 0 is not known.
    pub ifindex: u32,
    /// Its time to live, or hop limit; 0: the packet was not seen, or was no RST.
    pub ttl: u8,
    /// The same of the oldest data of the peer that was not read yet; 0: there was none.
    pub peer_ttl: u8,
    /// Zero.
    pub reserved: [u8; 2],
}

/// Detail of [`crate::signal::BUF_LIMIT_EXCEEDED`].
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy, Debug)]
pub struct BufLimitExceeded {
    /// Kernel id of the memory cgroup that the socket is charged to (inode of its directory); 0 is none.
    pub memory_cgroup: u64,
    /// Pages of the protocol after the add that was refused (rolled back afterwards).
    pub allocated: u32,
    /// 0 send, 1 receive (`SK_MEM_SEND`, `SK_MEM_RECV`).
    pub direction: u8,
    /// 1: the protocol is under pressure (`*prot->memory_pressure`); 0: it is not; [`super::ABSENT8`]: it knows none.
    pub pressure: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// `prot->name`, NUL-terminated.
    pub protocol: [u8; 16],
}

/// Detail of [`crate::signal::RCVQUEUE_FULL`].
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy, Debug)]
pub struct RcvqueueFull {
    /// Kernel memory of the packet that did not fit, bytes (`skb->truesize`).
    pub truesize: u32,
    /// Receive memory in use, bytes.
    pub rmem_alloc: u32,
    /// SO_RCVBUF, bytes.
    pub rcvbuf: u32,
    /// Zero.
    pub reserved: u32,
}

/// Detail of [`crate::signal::PACKET_DROPPED`].
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy, Debug)]
pub struct PacketDropped {
    /// `enum skb_drop_reason` of the running kernel.
    pub reason: u32,
    /// Kernel memory of the packet, bytes (`skb->truesize`).
    pub truesize: u32,
    /// Connections waiting for accept, if the socket listens.
    pub accept_queue: u32,
    /// Backlog of listen(), if it listens.
    pub backlog: u32,
    /// Id of the kernel stack in `PLACES`, raised by [`PLACES_FROM`]; 0 if none was taken.
    pub place: u32,
    /// Inode of the network namespace of the device that the packet was at, or, if at none, of the socket.
    pub netns: u32,
    /// Index of that device; 0 is none.
    pub ifindex: u32,
    /// Sequence number; with [`HAS_SEGMENT`].
    pub seq: u32,
    /// `skb->mark`
    pub mark: u32,
    /// Bytes of payload, at most 65,535; with [`HAS_SEGMENT`].
    pub len: u16,
    /// TCP flags; with [`HAS_SEGMENT`].
    pub tcp_flags: u8,
    /// Time to live, or hop limit; 0 without an IP header.
    pub ttl: u8,
    /// [`DROPPED_OUT`] or [`DROPPED_IN`]; 0 if the record has no socket.
    pub way: u8,
    /// [`HAS_SEGMENT`], [`WITHOUT_IP`].
    pub flags: u8,
    /// Zero.
    pub reserved: [u8; 6],
}

/// [`PacketDropped::way`]: the record's socket had sent it.
pub const DROPPED_OUT: u8 = 1;
/// [`PacketDropped::way`]: it was for the record's socket.
pub const DROPPED_IN: u8 = 2;
/// [`PacketDropped::flags`]: the TCP header was read.
pub const HAS_SEGMENT: u8 = 1;
/// [`PacketDropped::flags`]: the packet had no IP header yet.
pub const WITHOUT_IP: u8 = 2;
/// Ids of stacks in `PLACES` begin here, those of `STACKS` end before.
pub const PLACES_FROM: u32 = 0x4000;

/// Detail of [`crate::signal::STATE_CHANGED`]; [`super::Endpoint::state`] is the old state.
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy, Debug)]
pub struct StateChanged {
    /// State before.
    pub old: u32,
    /// State after.
    pub new: u32,
    /// Connections waiting for accept, if the socket is or was a listener.
    pub accept_queue: u32,
    /// Backlog of listen(), if the socket is or was a listener.
    pub backlog: u32,
}

/// Detail of [`crate::signal::SOCK_HELD`]; [`super::Record::current`] is the process that holds the file.
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy, Debug)]
pub struct SockHeld {
    /// Inode of the socket (`socket:[N]` in /proc/PID/fd).
    pub inode: u64,
    /// File descriptor number.
    pub fd: u32,
    /// Parent process id.
    pub parent: u32,
    /// Connections waiting for accept, if it listens.
    pub accept_queue: u32,
    /// Backlog of listen(), if it listens.
    pub backlog: u32,
    /// Kernel id of the memory cgroup that the socket is charged to (inode of its directory); 0 is none.
    pub memory_cgroup: u64,
}

macro_rules! details {
    (events { $($event:tt)* } found { $($found:tt)* } counters { $($counter:tt)* }) => {
        details! { @ $($event)* $($found)* }
    };
    (@ $($(#[$doc:meta])* $NUMBER:ident $word:ident $Type:ident {
        number: $number:literal, hook: $hook:ident($kernel:literal), since: $since:literal, need: $need:ident,
        detail: $($size:literal)? $(none)?, $($column:tt)*
    })*) => {
        /// The part of one signal; [`super::Header::signal`] says which member is set.
        #[repr(C)]
        #[cfg_attr(feature = "user", derive(FromBytes, Immutable, KnownLayout))]
        #[derive(Clone, Copy)]
        pub union Detail {
            /// As 64-bit words, for clearing.
            pub words: [u64; 6],
            $($(
                #[doc = concat!("[`crate::signal::", stringify!($NUMBER), "`], ", $size, " bytes.")]
                pub $word: $Type,
            )?)*
        }

        /// The members' types and their sizes.
        #[cfg(feature = "user")]
        pub const DETAILS: &[(&str, usize)] = &[$($((stringify!($Type), $size),)?)*];

        const _: () = {
            $($(assert!(size_of::<$Type>() == $size);)?)*
            assert!(size_of::<Detail>() == 48);
        };
    };
}

crate::signals! { details }
