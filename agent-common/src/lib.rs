//! The ABI between the kernel side (`agent-ebpf`) and the daemon (`agent`).
//!
//! Nothing here but `#[repr(C)]` values without padding, their sizes asserted at compile time, and
//! the numbers that name them. No `bool` and no `enum` crosses the border: the kernel side writes
//! integers, the daemon's decoder turns them into types and rejects what it does not know.
#![no_std]

pub mod count;
pub mod layout;
pub mod record;

/// Length of a task's name in the kernel (`TASK_COMM_LEN`), the final NUL included.
pub const COMM_LEN: usize = 16;

/// What a record tells: one number a signal, one word a signal at every layer.
pub mod signal {
    /// `tcp_retransmit_skb`: one skb was sent again, or the attempt failed (6.17+).
    pub const RETRANSMIT: u16 = 1;
    /// `tcp_retransmit_synack`: a SYN-ACK of a half-open connection was sent again.
    pub const SYNACK_RETRANSMIT: u16 = 2;
    /// `tcp_send_reset`: this host sent a RST.
    pub const RESET_SENT: u16 = 3;
    /// `tcp_receive_reset`: a RST was accepted.
    pub const RESET_RECEIVED: u16 = 4;
    /// `sock_exceed_buf_limit`: forward memory for a socket was refused.
    pub const BUF_LIMIT_EXCEEDED: u16 = 5;
    /// `sock_rcvqueue_full`: a datagram did not fit SO_RCVBUF. Never TCP's receive path.
    pub const RCVQUEUE_FULL: u16 = 6;
    /// `inet_sock_set_state`: a TCP socket is about to change state.
    pub const STATE_CHANGED: u16 = 7;
    /// `tcp_destroy_sock`: a TCP socket ends; its address may be used again at once.
    pub const SOCK_DESTROYED: u16 = 8;
    /// Iterator `task_file`: an open file of a process is a TCP socket.
    pub const SOCK_HELD: u16 = 9;
    /// `kfree_skb` for one of a few reasons: a received packet was dropped for want of memory or of room in a
    /// socket's queue.
    pub const PACKET_DROPPED: u16 = 10;
    /// Number of signals plus one, for tables indexed by signal.
    pub const END: u16 = 11;
}

/// Why a segment was sent again (`Count::detail` and `Retransmit::kind`).
pub mod retransmit {
    /// None of the tests below held.
    pub const UNKNOWN: u16 = 0;
    /// The retransmission timer fired (`tcp_retransmit_timer`); SNMP TCPTimeouts.
    pub const TIMEOUT: u16 = 1;
    /// Loss recovery driven by ACKs (dupACK, SACK, RACK); SNMP TCPFastRetrans.
    pub const FAST: u16 = 2;
    /// `tcp_send_loss_probe` sent old data again; SNMP TCPLossProbes counts these and probes with new data.
    pub const TAIL_LOSS_PROBE: u16 = 3;
    /// The RACK reordering timer fired (`tcp_rack_reo_timeout`); also in SNMP TCPFastRetrans.
    pub const REORDER: u16 = 4;
    /// After a timeout, clocked by ACKs; SNMP TCPSlowStartRetrans.
    pub const SLOW_START: u16 = 5;
    /// A SYN, sent again by the retransmission timer; SNMP TCPSynRetrans.
    pub const SYN: u16 = 6;
    /// A SYN-ACK of a request socket (`tcp_rtx_synack`); SNMP TCPSynRetrans.
    pub const SYNACK: u16 = 7;
    /// Number of kinds.
    pub const END: u16 = 8;
}

/// How the process of a socket was learnt, in rising order of trust.
pub mod owner {
    /// Not known.
    pub const NONE: u32 = 0;
    /// The file iterator found the socket among the process's open files.
    pub const FILE: u32 = 1;
    /// The process ran with the socket's lock held (`sk_lock.owned`), e.g. in close or recv.
    pub const LOCK: u32 = 2;
    /// The process called listen().
    pub const LISTEN: u32 = 3;
    /// The process called connect().
    pub const CONNECT: u32 = 4;
}
