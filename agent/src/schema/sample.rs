//! Events as the kernel reports them, for the tests of the whole folder.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agent_common::record;
use agent_correlate::listeners::Listening;
use agent_correlate::observed::{ConnectionId, Observed};
use agent_correlate::place::Place;
use agent_diagnose::{Certainty, Diagnosed, Diagnosis, Evidence, Phase};
use agent_model::cause::Cause;
use agent_model::event::{
    Detail, Direction, Endpoint, Exit, KernelEvent, Owned, Owner, OwnerSource, Pod, Process, RetransmitKind,
    Segment, Tcp, TcpFlags, TcpState, Thread,
};
use agent_model::fixture::endpoint;
use agent_model::signals::packet_dropped::{Packet, Role};
use agent_model::signals::{
    BufLimitExceeded, PacketDropped, RcvqueueFull, ResetReceived, ResetSent, Retransmit, SockDestroyed,
    StateChanged, SynackRetransmit,
};
use agent_model::timers::clock::Window;
use agent_model::timers::{Outlook, Rule, Timer};

/// Timer interrupts a second of the samples' kernel.
pub(crate) const HZ: u32 = 250;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn process(pid: u32, comm: &str) -> Process {
    Process { pid, comm: comm.into() }
}

fn observed(endpoint: Endpoint, detail: Detail, tcp: Option<&Tcp>) -> Observed {
    let event = KernelEvent {
        time: 61_003_123_456_789,
        stands_for: 1,
        endpoint,
        current: None,
        owner: None,
        detail,
        tcp: tcp.copied(),
    };
    Observed {
        connection: event.tcp.is_some().then_some(ConnectionId(0x2a)),
        event,
        realtime: 1_795_308_063_123_456_789,
        owner: None,
        place: Place::default(),
        reason: None,
        stack: Arc::new([]),
        rto: None,
        stage: None,
        outlook: None,
        sender: None,
        listener: Listening::Unknown,
    }
}

/// A container of a Deployment's pod.
pub(crate) fn place() -> Place {
    let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let uid = "9a64b8de-3f56-4f7c-8a0a-1d2f3a4b5c6d";
    let pod = Pod {
        uid: uid.into(),
        namespace: "shop".into(),
        name: "web-7d9f4c-x2v5p".into(),
        workload: Some(Owned { kind: "Deployment".into(), name: "web".into() }),
        labels: [("app".into(), "web".into())].into(),
        containers: [(id.into(), "nginx".into())].into(),
        ..Pod::default()
    };
    Place::of(&format!("/kubepods/burstable/pod{uid}/{id}"), Some(pod))
}

fn inferred(mut place: Place) -> Place {
    place.inferred = true;
    place
}

/// A socket after its third timeout, with every optional field there.
pub(crate) fn tcp() -> Tcp {
    let raw = record::Tcp {
        jiffies: 100_000,
        timer_expires: 100_816,
        keepalive_expires: 110_000,
        bytes_acked: 14_480,
        bytes_sent: 15_960,
        bytes_received: 512,
        bytes_retrans: 96,
        sock_flags: 1 << 3 | 1 << 4,
        linger: 1250,
        chrono: [500, 250, 25],
        rto: 408,
        rto_min: 50,
        rto_max: 30_000,
        user_timeout: 30_000,
        srtt_us: 1600,
        rttvar_us: 90,
        snd_cwnd: 1,
        snd_ssthresh: 7,
        snd_wnd: 64_256,
        rcv_wnd: 65_535,
        packets_out: 1,
        lost_out: 1,
        retrans_out: 1,
        snd_una: 1000,
        snd_nxt: 1032,
        write_seq: 1132,
        copied_seq: 500,
        rcv_nxt: 512,
        total_retrans: 3,
        total_rto: 3,
        mss: 1448,
        rmem_alloc: 2304,
        rcvbuf: 131_072,
        wmem_queued: 2304,
        sndbuf: 87_040,
        forward_alloc: 1792,
        rcv_tstamp: 99_000,
        lsndtime: 99_900,
        reordering: 3,
        data_segs_out: 13,
        err_soft: libc::EHOSTUNREACH,
        retransmits: 3,
        backoff: 2,
        pending: 1,
        ca_state: 4,
        userlocks: 1,
        has_socket: 1,
        ..record::Tcp::default()
    };
    let netns = record::Netns {
        keepalive_time: 1_800_000,
        keepalive_intvl: 18_750,
        fin_timeout: 15_000,
        retries1: 3,
        retries2: 15,
        syn_retries: 6,
        synack_retries: 5,
        syn_linear_timeouts: 4,
        keepalive_probes: 9,
        ..record::Netns::default()
    };
    let totals = record::Totals { segments: [0, 3, 0, 1, 0, 0, 0, 0], ..record::Totals::default() };
    Tcp { raw, netns, totals }
}

/// A third timeout on an open connection.
pub(crate) fn timeout() -> Observed {
    let endpoint = endpoint("198.51.100.1:40000", "198.51.100.2:5001", Some(TcpState::Established));
    let detail = Detail::Retransmit(Retransmit {
        kind: RetransmitKind::Timeout,
        err: 0,
        segments: 1,
        seq: 1000,
        end_seq: 1032,
        tcp_flags: TcpFlags(0x18),
    });
    Observed {
        owner: Some(Owner { process: process(4711, "curl"), source: OwnerSource::Connect }),
        rto: Some(Duration::from_millis(1632)),
        stage: Some(3),
        ..observed(endpoint, detail, Some(&tcp()))
    }
}

/// A connect to a port where nobody listens.
pub(crate) fn no_socket() -> Observed {
    let endpoint = endpoint("198.51.100.2:81", "198.51.100.1:40000", None);
    let trigger = Some(Segment { flags: TcpFlags::SYN, seq: 1, ack: 0, len: 0 });
    let detail = Detail::ResetSent(ResetSent { reason: Some(1), stack: None, trigger, exit: None });
    Observed {
        reason: Some("NO_SOCKET".into()),
        listener: Listening::Nobody,
        place: inferred(place()),
        ..observed(endpoint, detail, None)
    }
}

/// A close with unread bytes, seen with its stack, of a process that exits.
pub(crate) fn abort_on_close() -> Observed {
    aborted(Exit::new(1 << 8, false))
}

/// The same of one that the OOM killer chose.
pub(crate) fn oom_killed() -> Observed {
    aborted(Exit::new(9, true))
}

fn aborted(exit: Exit) -> Observed {
    let endpoint = endpoint("[2001:db8::2]:8080", "[2001:db8::1]:40001", Some(TcpState::Close));
    let detail =
        Detail::ResetSent(ResetSent { reason: Some(11), stack: Some(7), trigger: None, exit: Some(exit) });
    let mut observed = Observed {
        owner: Some(Owner { process: process(812, "payload-server"), source: OwnerSource::Lock }),
        reason: Some("TCP_ABORT_ON_CLOSE".into()),
        place: place(),
        stack: Arc::new(["tcp_send_active_reset".into(), "__tcp_close".into(), "tcp_close".into()]),
        ..observed(endpoint, detail, Some(&tcp()))
    };
    observed.event.current = Some(Thread { process: process(812, "payload-server"), tid: 815 });
    observed
}

/// A refused connect, as its client sees it.
pub(crate) fn refused() -> Observed {
    let endpoint = endpoint("198.51.100.1:40000", "198.51.100.2:81", Some(TcpState::SynSent));
    Observed {
        owner: Some(Owner { process: process(4712, "nc"), source: OwnerSource::Connect }),
        place: Place::of("/system.slice/ssh.service", None),
        ..observed(endpoint, Detail::ResetReceived(ResetReceived::default()), Some(&tcp()))
    }
}

/// A half-open connection at a busy listener.
pub(crate) fn synack() -> Observed {
    let mut endpoint = endpoint("198.51.100.2:80", "203.0.113.9:50123", Some(TcpState::NewSynRecv));
    endpoint.request = true;
    let detail = Detail::SynackRetransmit(SynackRetransmit {
        retransmits: 1,
        timeouts: 1,
        duplicate_syn: false,
        syn_queue: 17,
        accept_queue: 129,
        backlog: 128,
    });
    Observed {
        owner: Some(Owner { process: process(900, "nginx"), source: OwnerSource::Listener }),
        rto: Some(Duration::from_secs(2)),
        stage: Some(2),
        outlook: Some(Outlook {
            timer: Timer::Synack,
            rule: Rule::TcpSynackRetries,
            stage: 2,
            rto: Duration::from_secs(4),
            next_rto: Some(Duration::from_secs(8)),
            runs_left: 4,
            death: Some(Window { earliest: 61_063_000_000_000, latest: 61_065_000_000_000 }),
            ..Outlook::NEVER
        }),
        ..observed(endpoint, detail, None)
    }
}

/// `tcp_mem` is used up.
pub(crate) fn out_of_memory() -> Observed {
    let endpoint = endpoint("198.51.100.2:80", "203.0.113.9:50123", Some(TcpState::Established));
    let detail = Detail::BufLimitExceeded(BufLimitExceeded {
        direction: Direction::Receive,
        allocated: 16_385,
        protocol: "TCP".into(),
        pressure: Some(true),
        memory_cgroup: Some(4711),
    });
    observed(endpoint, detail, Some(&tcp()))
}

/// A listener whose accept queue is full.
pub(crate) fn dropped() -> Observed {
    let mut endpoint = endpoint("198.51.100.2:80", "203.0.113.9:50123", Some(TcpState::Listen));
    endpoint.request = true;
    let dropped =
        PacketDropped { reason: 40, truesize: 768, accept_queue: 129, backlog: 128, ..Default::default() };
    let detail = Detail::PacketDropped(PacketDropped { role: Some(Role::Receiver), ..dropped });
    Observed { reason: Some("TCP_LISTEN_OVERFLOW".into()), ..observed(endpoint, detail, None) }
}

/// A packet that a firewall rule drops, with every field there.
pub(crate) fn filtered() -> Observed {
    let endpoint = endpoint("198.51.100.1:40000", "198.51.100.2:5001", Some(TcpState::Established));
    let detail = Detail::PacketDropped(PacketDropped {
        reason: 12,
        truesize: 2304,
        place: Some(0x4007),
        netns: Some(4_026_532_300),
        ifindex: Some(3),
        segment: Some(Packet { seq: 1000, len: 32, flags: TcpFlags(0x18) }),
        ttl: Some(64),
        mark: 7,
        role: Some(Role::Sender),
        ..Default::default()
    });
    Observed {
        reason: Some("NETFILTER_DROP".into()),
        stack: Arc::new(
            ["sk_skb_reason_drop", "nft_do_chain", "nft_do_chain_inet", "nf_hook_slow", "ip_forward"]
                .map(Into::into),
        ),
        ..observed(endpoint, detail, Some(&tcp()))
    }
}

/// A ping socket that nobody reads.
pub(crate) fn queue_full() -> Observed {
    let mut endpoint = endpoint("198.51.100.2:7", "0.0.0.0:0", Some(TcpState::Close));
    endpoint.protocol = 1;
    observed(
        endpoint,
        Detail::RcvqueueFull(RcvqueueFull { truesize: 768, rmem_alloc: 213_000, rcvbuf: 212_992 }),
        None,
    )
}

/// A connection given up.
pub(crate) fn timed_out() -> Observed {
    let endpoint = endpoint("198.51.100.1:40000", "198.51.100.2:5001", Some(TcpState::Established));
    let detail = Detail::StateChanged(StateChanged {
        old: TcpState::Established,
        new: TcpState::Close,
        accept_queue: 0,
        backlog: 0,
    });
    let mut tcp = tcp();
    tcp.raw.err = libc::ETIMEDOUT;
    observed(endpoint, detail, Some(&tcp))
}

/// A listener that closes.
pub(crate) fn listener_closed() -> Observed {
    let endpoint = endpoint("[::]:80", "[::]:0", Some(TcpState::Listen));
    let detail = Detail::StateChanged(StateChanged {
        old: TcpState::Listen,
        new: TcpState::Close,
        accept_queue: 3,
        backlog: 128,
    });
    observed(endpoint, detail, Some(&tcp()))
}

/// The end of a socket.
pub(crate) fn destroyed() -> Observed {
    let endpoint = endpoint("198.51.100.1:40000", "198.51.100.2:5001", Some(TcpState::Close));
    observed(endpoint, Detail::SockDestroyed(SockDestroyed), Some(&tcp()))
}

/// Why the third timeout's connection waits.
pub(crate) fn diagnosed() -> Diagnosed {
    let outlook = Outlook {
        timer: Timer::Retransmit,
        rule: Rule::TcpRetries2,
        stage: 3,
        rto: Duration::from_millis(3264),
        fires: None,
        next_rto: Some(Duration::from_millis(6528)),
        runs_left: 13,
        death: Some(Window { earliest: 61_900_000_000_000, latest: 61_900_500_000_000 }),
    };
    let evidence = |certainty, text: &str| Evidence { certainty, text: text.to_owned() };
    let diagnosis = Diagnosis {
        cause: Cause::RetransmissionTimeout,
        phase: Phase::Stalled,
        connection: Some(ConnectionId(0x2a)),
        peer: Some(ConnectionId(0x2b)),
        time: 61_003_123_456_789,
        stands_for: 1,
        summary: "no answer to 3 timeouts".to_owned(),
        evidence: vec![
            evidence(Certainty::Observed, "stage 3, RTO 1.632s"),
            evidence(Certainty::Inferred, "the peer is dead"),
        ],
        outlook: Some(outlook),
        advice: vec!["TCP_USER_TIMEOUT".to_owned()],
    };
    Diagnosed {
        diagnosis,
        realtime: 1_795_308_063_123_456_789,
        shared: "7c2e40a1d3f5b698".parse().ok(),
        netns: 4_026_531_840,
        local: address("198.51.100.1:40000"),
        remote: address("198.51.100.2:5001"),
        owner: Some(Owner { process: process(4711, "curl"), source: OwnerSource::Connect }),
        ended_by: Some(process(4711, "curl")),
        place: place(),
    }
}

/// One of each.
pub(crate) fn all() -> Vec<Observed> {
    vec![
        timeout(),
        no_socket(),
        abort_on_close(),
        refused(),
        synack(),
        out_of_memory(),
        queue_full(),
        dropped(),
        filtered(),
        timed_out(),
        listener_closed(),
        destroyed(),
    ]
}
