//! Fills records in place: the stack of a program is 512 bytes, a record as long as that.
//!
//! Everything is read at the instant of the event, by direct loads through BTF pointers, about a
//! nanosecond each. Fields are written one by one on purpose: a struct literal would be built on the
//! stack first.

use agent_common::record::{ABSENT8, ABSENT32, ABSENT64, Endpoint, Header, Netns, OWNED, Record, Tcp};
use aya_ebpf::helpers::{bpf_get_socket_cookie, bpf_jiffies64, bpf_probe_read_kernel, bpf_skc_to_tcp_sock};

use crate::kernel::{bits, fact, field, load};
use crate::{memory, socket, task};

/// `SOCK_STREAM`.
pub const SOCK_STREAM: u16 = 1;
/// `SOCK_DGRAM`.
pub const SOCK_DGRAM: u16 = 2;
/// `AF_INET`.
pub const AF_INET: u16 = 2;
/// `AF_INET6`.
pub const AF_INET6: u16 = 10;

/// A full TCP socket. What a hook was given as `sk` newer verifiers trust (6.2), and load from it without the
/// test of the address that every other load has: what lies in the first part is read through it.
#[derive(Clone, Copy)]
pub struct Full {
    /// As the hook was given it.
    pub sk: *const u8,
    /// The same, as a `tcp_sock`.
    pub tp: *const u8,
}

/// The full TCP socket behind `sk`, or null: mini sockets, other protocols and null itself have none.
#[inline(always)]
pub fn tcp_sock(sk: *const u8) -> *const u8 {
    if sk.is_null() {
        return sk;
    }
    // SAFETY: `sk` is a BTF pointer to a sock. Where the verifier thought it never null and deleted the
    // test above, the helper's own catches it.
    unsafe { bpf_skc_to_tcp_sock(sk as *mut _) as *const u8 }
}

/// The same, where any kind of socket comes by: a raw socket with the protocol number of TCP, which the
/// helper takes for a `tcp_sock`, is none.
#[inline(always)]
pub fn any_tcp_sock(sk: *const u8) -> *const u8 {
    if !sk.is_null() && field!(sk, sk_type, u16) != SOCK_STREAM {
        return core::ptr::null();
    }
    tcp_sock(sk)
}

/// Starts a record: when, what, and nothing else yet.
#[inline(always)]
pub fn start(record: *mut Record, header: Header) {
    // SAFETY: `record` is reserved space for a `Record`.
    unsafe {
        (*record).header = header;
        memory::clear(&raw mut (*record).detail);
        memory::clear(&raw mut (*record).current);
        memory::clear(&raw mut (*record).owner);
    }
}

/// The running task, if it holds the lock of `sk`.
#[inline(always)]
pub fn current(record: *mut Record, sk: *const u8) {
    if socket::is_owned(sk) {
        // SAFETY: `record` is reserved space for a `Record`.
        unsafe {
            (*record).header.flags |= OWNED;
            task::write_current(&raw mut (*record).current, task::thread_id());
        }
    }
}

/// The identity of a socket of any protocol; `local_port` as the caller knows it (`skc_num` is 0 once a
/// TCP socket has given its port back).
#[inline(always)]
pub fn endpoint(to: *mut Endpoint, sk: *const u8, local_port: u16) {
    endpoint_with(to, sk, local_port, cookie(sk));
}

/// The same of a socket that no helper takes; the cookie as it stands there.
#[inline(always)]
pub fn bare_endpoint(to: *mut Endpoint, sk: *const u8, local_port: u16) {
    let cookie = if fact!(socket_cookie) == 0 { 0 } else { field!(sk, skc_cookie, u64) };
    endpoint_with(to, sk, local_port, cookie);
}

#[inline(always)]
fn endpoint_with(to: *mut Endpoint, sk: *const u8, local_port: u16, cookie: u64) {
    // SAFETY: `to` is reserved space for an `Endpoint`.
    unsafe {
        (*to).sk = sk as u64;
        (*to).cookie = cookie;
        (*to).cgroup = cgroup(sk);
        (*to).netns = netns_inum(sk);
        (*to).uid = field!(sk, sk_uid, u32);
        (*to).local_port = local_port;
        (*to).remote_port = u16::from_be(field!(sk, skc_dport, u16));
        (*to).family = field!(sk, skc_family, u16);
        (*to).state = field!(sk, skc_state, u8);
        (*to).protocol = field!(sk, sk_protocol, u16) as u8;
    }
    addresses(to, sk);
}

/// Both addresses out of a `sock_common`, which sockets, mini sockets and request sockets start with.
#[inline(always)]
pub fn addresses(to: *mut Endpoint, sk: *const u8) {
    // SAFETY: `to` is reserved space for an `Endpoint`, whose addresses are 8-byte aligned.
    unsafe {
        let local = (&raw mut (*to).local).cast::<u64>();
        let remote = (&raw mut (*to).remote).cast::<u64>();
        if field!(sk, skc_family, u16) == AF_INET {
            local.write(first_four(field!(sk, skc_rcv_saddr, u32)));
            local.add(1).write(0);
            remote.write(first_four(field!(sk, skc_daddr, u32)));
            remote.add(1).write(0);
        } else {
            local.write(half_v6(sk, fact!(layout.skc_v6_rcv_saddr), 0));
            local.add(1).write(half_v6(sk, fact!(layout.skc_v6_rcv_saddr), 8));
            remote.write(half_v6(sk, fact!(layout.skc_v6_daddr), 0));
            remote.add(1).write(half_v6(sk, fact!(layout.skc_v6_daddr), 8));
        }
    }
}

/// The four bytes of a word as they lie in memory, as the first four of a longer one.
#[inline(always)]
const fn first_four(word: u32) -> u64 {
    if cfg!(target_endian = "big") { (word as u64) << 32 } else { word as u64 }
}

#[inline(always)]
fn half_v6(sk: *const u8, offset: u16, half: u16) -> u64 {
    if offset == agent_common::layout::ABSENT {
        return 0;
    }
    load(sk, offset + half)
}

/// The helper is for a socket that nobody asked before: it gives it one.
#[inline(always)]
fn cookie(sk: *const u8) -> u64 {
    let cookie = field!(sk, skc_cookie, u64);
    if cookie != 0 || fact!(socket_cookie) == 0 {
        return cookie;
    }
    // SAFETY: the helper takes BTF pointers to a sock from 5.12 on.
    unsafe { bpf_get_socket_cookie(sk as *mut _) }
}

/// The cgroup v2 id of a full socket: that of the process at socket(), a child's is its listener's
/// (`cgroup_sk_alloc`, `cgroup_sk_clone`).
#[inline(always)]
pub fn cgroup(sk: *const u8) -> u64 {
    let cgroup = field!(sk, sk_cgroup, *const u8, else core::ptr::null());
    if fact!(layout.sk_cgroup) != agent_common::layout::ABSENT {
        return field!(field!(cgroup, cgroup_kn, *const u8), kn_id, u64);
    }
    // Before 5.15 a tagged pointer: with a tag it is not a cgroup (`sock_cgroup_ptr`).
    let tagged = field!(sk, sk_cgroup_val, u64, else 0);
    if tagged == 0 || tagged & 3 != 0 {
        return 1;
    }
    probe(tagged, fact!(layout.cgroup_kn)).and_then(|kn| probe(kn, fact!(layout.kn_id))).unwrap_or(0)
}

/// The cgroup that `mem_cgroup_sk_charge` charges: of the hierarchy that has the memory controller, which is
/// that of version 1 where it is mounted. A socket of the root cgroup has none (`mem_cgroup_sk_alloc`).
#[inline(always)]
pub fn memory_cgroup(sk: *const u8) -> u64 {
    if fact!(layout.memcg_cgroup) == agent_common::layout::ABSENT {
        return 0;
    }
    let memcg = field!(sk, sk_memcg, *const u8, else core::ptr::null());
    if memcg.is_null() {
        return 0;
    }
    field!(field!(field!(memcg, memcg_cgroup, *const u8), cgroup_kn, *const u8), kn_id, u64)
}

#[inline(always)]
fn probe(base: u64, offset: u16) -> Option<u64> {
    // SAFETY: probe reads check the address.
    unsafe { bpf_probe_read_kernel((base + u64::from(offset)) as *const u64) }.ok()
}

/// Inode of the network namespace of anything that starts with a `sock_common`.
#[inline(always)]
pub fn netns_inum(sk: *const u8) -> u32 {
    field!(field!(sk, skc_net, *const u8), net_inum, u32)
}

/// The port a TCP socket is or was bound to: `inet_sport` survives the close, `skc_num` does not.
#[inline(always)]
pub fn local_port(tp: *const u8) -> u16 {
    let port = u16::from_be(field!(tp, inet_sport, u16));
    if port != 0 { port } else { field!(tp, skc_num, u16) }
}

/// Loads `to.member = tp->field` for each line of a table.
macro_rules! table {
    ($to:ident, $base:expr, { $($member:ident: $field:ident $ty:ty $(, else $absent:expr)?;)* }) => {
        // SAFETY: `$to` is reserved space for the record.
        unsafe { $((*$to).$member = field!($base, $field, $ty $(, else $absent)?);)* }
    };
}

/// Everything a full TCP socket knows.
#[inline(always)]
pub fn tcp(to: *mut Tcp, full: Full) {
    let Full { sk, tp } = full;
    table!(to, sk, {
        sock_flags: skc_flags u64;
        linger: sk_lingertime u64;
        rmem_alloc: sk_rmem_alloc u32;
        rcvbuf: sk_rcvbuf u32;
        wmem_queued: sk_wmem_queued u32;
        sndbuf: sk_sndbuf u32;
        forward_alloc: sk_forward_alloc i32;
        backlog: sk_backlog_len u32;
        err: sk_err i32;
        err_soft: sk_err_soft i32;
        shutdown: sk_shutdown u8;
    });
    table!(to, tp, {
        bytes_acked: tcp_bytes_acked u64;
        bytes_sent: tcp_bytes_sent u64;
        bytes_received: tcp_bytes_received u64;
        bytes_retrans: tcp_bytes_retrans u64;
        rto: icsk_rto u32;
        rto_min: icsk_rto_min u32, else ABSENT32;
        rto_max: icsk_rto_max u32, else ABSENT32;
        user_timeout: icsk_user_timeout u32;
        probes_tstamp: icsk_probes_tstamp u32, else 0;
        srtt_us: tcp_srtt_us u32;
        rttvar_us: tcp_rttvar_us u32;
        snd_cwnd: tcp_snd_cwnd u32;
        snd_ssthresh: tcp_snd_ssthresh u32;
        snd_wnd: tcp_snd_wnd u32;
        rcv_wnd: tcp_rcv_wnd u32;
        packets_out: tcp_packets_out u32;
        lost_out: tcp_lost_out u32;
        sacked_out: tcp_sacked_out u32;
        retrans_out: tcp_retrans_out u32;
        snd_una: tcp_snd_una u32;
        snd_nxt: tcp_snd_nxt u32;
        write_seq: tcp_write_seq u32;
        copied_seq: tcp_copied_seq u32;
        rcv_nxt: tcp_rcv_nxt u32;
        total_retrans: tcp_total_retrans u32;
        retrans_stamp: tcp_retrans_stamp u32;
        undo_marker: tcp_undo_marker u32;
        undo_retrans: tcp_undo_retrans i32;
        dsack_dups: tcp_dsack_dups u32;
        reordering: tcp_reordering u32;
        data_segs_out: tcp_data_segs_out u32;
        rcv_tstamp: tcp_rcv_tstamp u32;
        lsndtime: tcp_lsndtime u32;
        lrcvtime: icsk_lrcvtime u32, else 0;
        keepalive_time: tcp_keepalive_time u32;
        keepalive_intvl: tcp_keepalive_intvl u32;
        linger2: tcp_linger2 i32;
        mss: tcp_mss u32;
        retransmits: icsk_retransmits u8;
        backoff: icsk_backoff u8;
        probes_out: icsk_probes_out u8;
        pending: icsk_pending u8;
        syn_retries: icsk_syn_retries u8;
        keepalive_probes: tcp_keepalive_probes u8;
        is_mptcp: tcp_is_mptcp u8, else ABSENT8;
    });
    odd_ones(to, full);
}

/// What is not a plain load.
#[inline(always)]
fn odd_ones(to: *mut Tcp, full: Full) {
    let Full { sk, tp } = full;
    // SAFETY: `to` is reserved space for a `Tcp`; the helper has no preconditions.
    unsafe {
        (*to).jiffies = bpf_jiffies64();
        (*to).timer_expires = timer_expires(tp);
        (*to).keepalive_expires = keepalive_expires(tp);
        (*to).total_rto = match field!(tp, tcp_total_rto, u16, else u16::MAX) {
            u16::MAX => ABSENT32,
            total => u32::from(total),
        };
        (*to).ca_state = bits!(tp, icsk_ca_state, else 0);
        (*to).userlocks = bits!(sk, sk_userlocks, else 0);
        (*to).usec_ts = bits!(tp, tcp_usec_ts, else 0);
        (*to).has_socket = u8::from(field!(sk, sk_socket, u64) != 0);
        (*to).chrono = chrono(tp);
        memory::clear_bytes(&raw mut (*to).reserved);
    }
}

/// As `tcp_get_info_chrono_stats` has them: with the one that runs.
#[inline(always)]
fn chrono(tp: *const u8) -> [u32; 3] {
    let at = fact!(layout.tcp_chrono_stat);
    if at == agent_common::layout::ABSENT {
        return [ABSENT32; 3];
    }
    let running = bits!(tp, tcp_chrono_type, else 0);
    let since = field!(tp, tcp_chrono_start, u32, else 0);
    // SAFETY: no preconditions.
    let ran = unsafe { bpf_jiffies64() as u32 }.wrapping_sub(since);
    let stat = |number: u8| {
        let ended: u32 = load(tp, at + 4 * u16::from(number - 1));
        if running == number { ended.wrapping_add(ran) } else { ended }
    };
    [stat(1), stat(2), stat(3)]
}

/// When the retransmission timer fires or fired: `icsk_timeout` up to 6.12, the timer's own `expires`
/// later, which moved from `inet_connection_sock` to `sock` in 7.1.
#[inline(always)]
pub fn timer_expires(tp: *const u8) -> u64 {
    if fact!(layout.icsk_timeout) != agent_common::layout::ABSENT {
        return field!(tp, icsk_timeout, u64);
    }
    if fact!(layout.icsk_retransmit_expires) != agent_common::layout::ABSENT {
        return field!(tp, icsk_retransmit_expires, u64);
    }
    field!(tp, sk_retransmit_expires, u64, else ABSENT64)
}

/// When the keepalive timer fires: `sk_timer` up to 6.18, `icsk_keepalive_timer` from 7.1 on.
#[inline(always)]
fn keepalive_expires(tp: *const u8) -> u64 {
    if fact!(layout.icsk_keepalive_expires) != agent_common::layout::ABSENT {
        return field!(tp, icsk_keepalive_expires, u64);
    }
    field!(tp, sk_timer_expires, u64, else ABSENT64)
}

/// The settings of the socket's namespace that decide its deadline.
#[inline(always)]
pub fn netns(to: *mut Netns, sk: *const u8) {
    let net = field!(sk, skc_net, *const u8);
    table!(to, net, {
        keepalive_time: net_keepalive_time u32;
        keepalive_intvl: net_keepalive_intvl u32;
        fin_timeout: net_fin_timeout u32;
        retries1: net_retries1 u8;
        retries2: net_retries2 u8;
        syn_retries: net_syn_retries u8;
        synack_retries: net_synack_retries u8;
        orphan_retries: net_orphan_retries u8;
        syn_linear_timeouts: net_syn_linear_timeouts u8, else ABSENT8;
        keepalive_probes: net_keepalive_probes u8;
        abort_on_overflow: net_abort_on_overflow u8;
        thin_linear_timeouts: net_thin_linear_timeouts u8;
    });
    // SAFETY: reserved space for a `Netns`.
    unsafe {
        (*to).rmem = third(net, fact!(layout.net_tcp_rmem));
        (*to).wmem = third(net, fact!(layout.net_tcp_wmem));
        memory::clear_bytes(&raw mut (*to).reserved);
    }
}

/// The last of three integers.
#[inline(always)]
fn third(base: *const u8, offset: u16) -> u32 {
    if offset == agent_common::layout::ABSENT { ABSENT32 } else { load(base, offset + 8) }
}
