//! Where the running kernel keeps the fields that the programs read.
//!
//! The daemon resolves each path below in the kernel's BTF and passes the offsets as one read-only
//! global. To the verifier a BTF pointer plus a constant of `.rodata` is a typed access, so a program
//! loads fields directly on every kernel without relocations. Offsets differ even between builds of
//! one stable series: none is ever compiled in.

#[cfg(feature = "user")]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Offset of a field that this kernel does not have.
pub const ABSENT: u16 = u16::MAX;

/// A bit field of at most 8 bits inside one byte.
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// Offset of the byte, or [`ABSENT`].
    pub offset: u16,
    /// First bit.
    pub shift: u8,
    /// Number of bits, 1 to 8.
    pub width: u8,
}

/// How a field is declared below, for the daemon's resolver.
#[cfg(feature = "user")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name of the member of [`Layout`].
    pub name: &'static str,
    /// The kernel structure that has the path.
    pub base: &'static str,
    /// Member path, C spelling; the path skips unnamed members.
    pub path: &'static str,
    /// Without it no program that reads a socket can run.
    pub required: bool,
    /// Its low byte is read, however long the kernel has it: where that lies is a matter of byte order.
    pub low_byte: bool,
}

#[cfg(feature = "user")]
macro_rules! low_byte {
    (byte) => {
        true
    };
    () => {
        false
    };
}

macro_rules! layout {
    (
        offsets { $($(#[$odoc:meta])* $oname:ident: $obase:literal $opath:literal $oneed:ident $($obyte:ident)?,)* }
        bits { $($(#[$bdoc:meta])* $bname:ident: $bbase:literal $bpath:literal $bneed:ident,)* }
    ) => {
        /// Offsets in bytes from the start of the named structure.
        #[repr(C)]
        #[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Layout {
            $($(#[$odoc])* #[doc = concat!("`", $obase, ".", $opath, "`")] pub $oname: u16,)*
            $($(#[$bdoc])* #[doc = concat!("`", $bbase, ".", $bpath, "`")] pub $bname: Bits,)*
        }

        impl Layout {
            /// Nothing is known yet.
            pub const ABSENT: Self = Self {
                $($oname: ABSENT,)*
                $($bname: Bits { offset: ABSENT, shift: 0, width: 8 },)*
            };
        }

        /// The byte-aligned fields, in [`Layout`]'s order.
        #[cfg(feature = "user")]
        pub const OFFSETS: &[Field] = &[
            $(Field {
                name: stringify!($oname),
                base: $obase,
                path: $opath,
                required: required!($oneed),
                low_byte: low_byte!($($obyte)?),
            },)*
        ];

        /// The bit fields, in [`Layout`]'s order.
        #[cfg(feature = "user")]
        pub const BITS: &[Field] = &[
            $(Field {
                name: stringify!($bname),
                base: $bbase,
                path: $bpath,
                required: required!($bneed),
                low_byte: false,
            },)*
        ];

        #[cfg(feature = "user")]
        impl Layout {
            /// The member called `name` in [`OFFSETS`].
            pub fn offset_mut(&mut self, name: &str) -> Option<&mut u16> {
                match name { $(stringify!($oname) => Some(&mut self.$oname),)* _ => None }
            }

            /// The member called `name` in [`BITS`].
            pub fn bits_mut(&mut self, name: &str) -> Option<&mut Bits> {
                match name { $(stringify!($bname) => Some(&mut self.$bname),)* _ => None }
            }
        }
    };
}

layout! {
    offsets {
        skc_family: "sock" "__sk_common.skc_family" required,
        skc_state: "sock" "__sk_common.skc_state" required,
        skc_num: "sock" "__sk_common.skc_num" required,
        skc_dport: "sock" "__sk_common.skc_dport" required,
        skc_daddr: "sock" "__sk_common.skc_daddr" required,
        skc_rcv_saddr: "sock" "__sk_common.skc_rcv_saddr" required,
        /// Absent without CONFIG_IPV6.
        skc_v6_daddr: "sock" "__sk_common.skc_v6_daddr" optional,
        /// Absent without CONFIG_IPV6.
        skc_v6_rcv_saddr: "sock" "__sk_common.skc_v6_rcv_saddr" optional,
        skc_net: "sock" "__sk_common.skc_net.net" required,
        skc_cookie: "sock" "__sk_common.skc_cookie.counter" required,
        skc_flags: "sock" "__sk_common.skc_flags" required,
        skc_prot: "sock" "__sk_common.skc_prot" required,
        sk_protocol: "sock" "sk_protocol" required,
        sk_type: "sock" "sk_type" required,
        sk_uid: "sock" "sk_uid.val" required,
        /// 5.15+, and later stable releases of 5.10.
        sk_cgroup: "sock" "sk_cgrp_data.cgroup" optional,
        /// Before 5.15: a tagged pointer.
        sk_cgroup_val: "sock" "sk_cgrp_data.val" optional,
        sk_rcvbuf: "sock" "sk_rcvbuf" required,
        sk_sndbuf: "sock" "sk_sndbuf" required,
        sk_wmem_queued: "sock" "sk_wmem_queued" required,
        sk_rmem_alloc: "sock" "sk_backlog.rmem_alloc.counter" required,
        sk_backlog_len: "sock" "sk_backlog.len" required,
        sk_forward_alloc: "sock" "sk_forward_alloc" required,
        sk_err: "sock" "sk_err" required,
        sk_err_soft: "sock" "sk_err_soft" required,
        sk_shutdown: "sock" "sk_shutdown" required,
        sk_socket: "sock" "sk_socket" required,
        sk_receive_queue_len: "sock" "sk_receive_queue.qlen" optional,
        sk_receive_queue_next: "sock" "sk_receive_queue.next" optional,
        sk_ack_backlog: "sock" "sk_ack_backlog" required,
        sk_max_ack_backlog: "sock" "sk_max_ack_backlog" required,
        sk_lingertime: "sock" "sk_lingertime" required,
        /// 1 while a task holds lock_sock(); the whole of how `current` is believed.
        sk_owned: "sock" "sk_lock.owned" required,
        /// The retransmission timer from 7.1 on.
        sk_retransmit_expires: "sock" "tcp_retransmit_timer.expires" optional,
        /// The keepalive timer up to 6.18.
        sk_timer_expires: "sock" "sk_timer.expires" optional,
        inet_sport: "inet_sock" "inet_sport" required,
        icsk_retransmits: "inet_connection_sock" "icsk_retransmits" required,
        icsk_backoff: "inet_connection_sock" "icsk_backoff" required,
        icsk_probes_out: "inet_connection_sock" "icsk_probes_out" required,
        icsk_pending: "inet_connection_sock" "icsk_pending" required,
        icsk_syn_retries: "inet_connection_sock" "icsk_syn_retries" required,
        icsk_rto: "inet_connection_sock" "icsk_rto" required,
        icsk_rto_min: "inet_connection_sock" "icsk_rto_min" optional,
        /// 6.15+.
        icsk_rto_max: "inet_connection_sock" "icsk_rto_max" optional,
        icsk_user_timeout: "inet_connection_sock" "icsk_user_timeout" required,
        icsk_probes_tstamp: "inet_connection_sock" "icsk_probes_tstamp" optional,
        /// The retransmission timer's expiry up to 6.12.
        icsk_timeout: "inet_connection_sock" "icsk_timeout" optional,
        /// The retransmission timer up to 6.18.
        icsk_retransmit_expires: "inet_connection_sock" "icsk_retransmit_timer.expires" optional,
        /// The keepalive timer from 7.1 on.
        icsk_keepalive_expires: "inet_connection_sock" "icsk_keepalive_timer.expires" optional,
        icsk_lrcvtime: "inet_connection_sock" "icsk_ack.lrcvtime" optional,
        icsk_syn_queue: "inet_connection_sock" "icsk_accept_queue.qlen.counter" required,
        tcp_srtt_us: "tcp_sock" "srtt_us" required,
        tcp_rttvar_us: "tcp_sock" "rttvar_us" required,
        tcp_snd_cwnd: "tcp_sock" "snd_cwnd" required,
        tcp_snd_ssthresh: "tcp_sock" "snd_ssthresh" required,
        tcp_snd_wnd: "tcp_sock" "snd_wnd" required,
        tcp_rcv_wnd: "tcp_sock" "rcv_wnd" required,
        tcp_packets_out: "tcp_sock" "packets_out" required,
        tcp_lost_out: "tcp_sock" "lost_out" required,
        tcp_sacked_out: "tcp_sock" "sacked_out" required,
        tcp_retrans_out: "tcp_sock" "retrans_out" required,
        tcp_snd_una: "tcp_sock" "snd_una" required,
        tcp_snd_nxt: "tcp_sock" "snd_nxt" required,
        tcp_write_seq: "tcp_sock" "write_seq" required,
        tcp_copied_seq: "tcp_sock" "copied_seq" required,
        tcp_rcv_nxt: "tcp_sock" "rcv_nxt" required,
        tcp_bytes_acked: "tcp_sock" "bytes_acked" required,
        tcp_bytes_sent: "tcp_sock" "bytes_sent" required,
        tcp_bytes_received: "tcp_sock" "bytes_received" required,
        tcp_bytes_retrans: "tcp_sock" "bytes_retrans" required,
        tcp_total_retrans: "tcp_sock" "total_retrans" required,
        tcp_retrans_stamp: "tcp_sock" "retrans_stamp" required,
        tcp_undo_marker: "tcp_sock" "undo_marker" required,
        tcp_undo_retrans: "tcp_sock" "undo_retrans" required,
        tcp_dsack_dups: "tcp_sock" "dsack_dups" required,
        tcp_reordering: "tcp_sock" "reordering" required,
        tcp_data_segs_out: "tcp_sock" "data_segs_out" required,
        tcp_rcv_tstamp: "tcp_sock" "rcv_tstamp" required,
        tcp_lsndtime: "tcp_sock" "lsndtime" required,
        tcp_keepalive_time: "tcp_sock" "keepalive_time" required,
        tcp_keepalive_intvl: "tcp_sock" "keepalive_intvl" required,
        tcp_keepalive_probes: "tcp_sock" "keepalive_probes" required,
        tcp_linger2: "tcp_sock" "linger2" required,
        /// 6.7+.
        tcp_total_rto: "tcp_sock" "total_rto" optional,
        tcp_mss: "tcp_sock" "mss_cache" required,
        tcp_chrono_stat: "tcp_sock" "chrono_stat" optional,
        tcp_chrono_start: "tcp_sock" "chrono_start" optional,
        /// Only with CONFIG_MPTCP.
        tcp_is_mptcp: "tcp_sock" "is_mptcp" optional,
        skb_cb: "sk_buff" "cb" required,
        skb_len: "sk_buff" "len" required,
        skb_dev: "sk_buff" "dev" required,
        skb_head: "sk_buff" "head" required,
        skb_network_header: "sk_buff" "network_header" required,
        skb_transport_header: "sk_buff" "transport_header" required,
        skb_inner_network_header: "sk_buff" "inner_network_header" optional,
        skb_truesize: "sk_buff" "truesize" required,
        skb_sk: "sk_buff" "sk" optional,
        skb_mark: "sk_buff" "mark" optional,
        skb_iif: "sk_buff" "skb_iif" optional,
        dev_ifindex: "net_device" "ifindex" optional,
        dev_net: "net_device" "nd_net.net" required,
        cb_seq: "tcp_skb_cb" "seq" required,
        cb_end_seq: "tcp_skb_cb" "end_seq" required,
        /// 8 bits wide before 6.15, 16 after.
        cb_tcp_flags: "tcp_skb_cb" "tcp_flags" required byte,
        cb_tcp_gso_segs: "tcp_skb_cb" "tcp_gso_segs" required,
        req_num_retrans: "request_sock" "num_retrans" required,
        req_timer_expires: "request_sock" "rsk_timer.expires" optional,
        net_inum: "net" "ns.inum" required,
        /// This and its neighbours: `int` before 5.13, `u8` after.
        net_retries1: "net" "ipv4.sysctl_tcp_retries1" required byte,
        net_retries2: "net" "ipv4.sysctl_tcp_retries2" required byte,
        net_syn_retries: "net" "ipv4.sysctl_tcp_syn_retries" required byte,
        net_synack_retries: "net" "ipv4.sysctl_tcp_synack_retries" required byte,
        net_orphan_retries: "net" "ipv4.sysctl_tcp_orphan_retries" required byte,
        /// 6.5+.
        net_syn_linear_timeouts: "net" "ipv4.sysctl_tcp_syn_linear_timeouts" optional,
        net_keepalive_time: "net" "ipv4.sysctl_tcp_keepalive_time" required,
        net_keepalive_intvl: "net" "ipv4.sysctl_tcp_keepalive_intvl" required,
        net_keepalive_probes: "net" "ipv4.sysctl_tcp_keepalive_probes" required byte,
        net_fin_timeout: "net" "ipv4.sysctl_tcp_fin_timeout" required,
        net_abort_on_overflow: "net" "ipv4.sysctl_tcp_abort_on_overflow" required byte,
        net_thin_linear_timeouts: "net" "ipv4.sysctl_tcp_thin_linear_timeouts" required byte,
        /// Three values: guaranteed, at first, at most.
        net_tcp_rmem: "net" "ipv4.sysctl_tcp_rmem" optional,
        /// Likewise.
        net_tcp_wmem: "net" "ipv4.sysctl_tcp_wmem" optional,
        cgroup_kn: "cgroup" "kn" required,
        kn_id: "kernfs_node" "id" required,
        prot_name: "proto" "name" required,
        prot_memory_pressure: "proto" "memory_pressure" required,
        /// Only with CONFIG_MEMCG.
        sk_memcg: "sock" "sk_memcg" optional,
        memcg_cgroup: "mem_cgroup" "css.cgroup" optional,
        task_pid: "task_struct" "pid" required,
        task_tgid: "task_struct" "tgid" required,
        task_comm: "task_struct" "comm" required,
        task_group_leader: "task_struct" "group_leader" required,
        task_real_parent: "task_struct" "real_parent" required,
        task_flags: "task_struct" "flags" required,
        task_exit_code: "task_struct" "exit_code" required,
        task_signal: "task_struct" "signal" required,
        signal_oom_mm: "signal_struct" "oom_mm" required,
        file_inode: "file" "f_inode" required,
        inode_ino: "inode" "i_ino" required,
        socket_sk: "socket" "sk" required,
    }
    bits {
        icsk_ca_state: "inet_connection_sock" "icsk_ca_state" required,
        /// 4 bits of a byte up to 6.1, a whole byte later.
        sk_userlocks: "sock" "sk_userlocks" required,
        /// 6.7+.
        tcp_usec_ts: "tcp_sock" "tcp_usec_ts" optional,
        req_num_timeout: "request_sock" "num_timeout" required,
        /// Which of the three chronographs runs since `chrono_start`; 0 none.
        tcp_chrono_type: "tcp_sock" "chrono_type" optional,
    }
}

/// What else the programs must know about the running kernel.
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Offsets.
    pub layout: Layout,
    /// 1: `tcp_retransmit_skb` has the argument `err` (6.17+).
    pub retransmit_err: u8,
    /// 1: `tcp_send_reset` has the argument `reason` (6.10+).
    pub reset_reason: u8,
    /// 1: `bpf_get_socket_cookie` may be called from tracing programs (5.12+).
    pub socket_cookie: u8,
    /// 1: `kfree_skb` has the argument `rx_sk` (6.11+).
    pub drop_socket: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Number of `NOT_SPECIFIED` in `enum skb_drop_reason`; 0 is none.
    pub drop_unspecified: u8,
    /// Bit n: reason n of `enum skb_drop_reason` is a socket's without memory or room.
    pub drop_memory: [u32; 6],
    /// Bit n: a drop with reason n is no trouble: it is counted and not told.
    pub drop_noise: [u32; 6],
}

impl Kernel {
    /// Nothing is known yet.
    pub const ABSENT: Self = Self {
        layout: Layout::ABSENT,
        retransmit_err: 0,
        reset_reason: 0,
        socket_cookie: 0,
        drop_socket: 0,
        reserved: [0; 3],
        drop_unspecified: 0,
        drop_memory: [0; 6],
        drop_noise: [0; 6],
    };
}

#[cfg(feature = "user")]
mod user {
    use super::Kernel;
    use crate::count::{Count, CountKey, Forks, Health, Limits, Port, Row, Socket};

    // SAFETY: `#[repr(C)]`; zerocopy's `IntoBytes` and `FromBytes` prove that it has no padding and that every
    // bit pattern is a value.
    unsafe impl aya::Pod for Kernel {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Count {}
    // SAFETY: as above.
    unsafe impl aya::Pod for CountKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Health {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Socket {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Forks {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Row {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Port {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Limits {}
}
