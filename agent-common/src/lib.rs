//! The ABI between the kernel side (`agent-ebpf`) and the daemon (`agent`).
//!
//! Nothing here but `#[repr(C)]` values without padding, their sizes asserted at compile time, and
//! the numbers that name them. No record has a `bool` or an `enum`: the kernel side writes integers, and the
//! daemon's decoder turns them into types and rejects unknown ones. The parts of the tables that only the daemon
//! needs have the feature `user`.
#![no_std]

#[cfg(feature = "user")]
macro_rules! required {
    (required) => {
        true
    };
    (optional) => {
        false
    };
}

pub mod count;
pub mod layout;
pub mod record;
pub mod signal;

/// Length of a task's name in the kernel (`TASK_COMM_LEN`), the final NUL included.
pub const COMM_LEN: usize = 16;

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
