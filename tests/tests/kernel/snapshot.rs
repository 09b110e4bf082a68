//! What is read of a socket, against what the socket itself says: a wrong offset shows here.

use agent_model::event::{RetransmitKind, Tcp};
use socket2::SockRef;
use tests::scenes::retransmit;
use tests::tcp;

use crate::watch::{self, kind, watch};

/// Settings of the client's namespace, each of a value that no default has.
const SETTINGS: [(&str, u32); 8] = [
    ("ipv4.tcp_retries1", 4),
    ("ipv4.tcp_retries2", 9),
    ("ipv4.tcp_syn_retries", 5),
    ("ipv4.tcp_synack_retries", 3),
    ("ipv4.tcp_orphan_retries", 2),
    ("ipv4.tcp_keepalive_time", 77),
    ("ipv4.tcp_keepalive_intvl", 11),
    ("ipv4.tcp_keepalive_probes", 6),
];

#[test]
fn a_snapshot_is_what_the_socket_says() {
    watch::each(|family| {
        let pair = watch::pair_without_probes();
        for (name, value) in SETTINGS {
            pair.client.sysctl(name, value);
        }
        let resent = retransmit::timeouts(&pair, family, 2);
        let timeouts = watch().settled(&pair.client);
        let last =
            timeouts.iter().rfind(|event| kind(event) == Some(RetransmitKind::Timeout)).expect("a timeout");
        let tcp = last.tcp.expect("a full socket");
        assert_eq!((last.endpoint.local, last.endpoint.remote), (resent.side.local, resent.side.remote));
        assert_eq!((last.endpoint.uid, last.endpoint.protocol), (Some(0), 6));
        assert!(last.endpoint.cgroup.is_some());
        assert_sizes(&tcp, &resent.socket);
        assert_settings(&tcp);
        assert_eq!(tcp.unacked_bytes() as usize, retransmit::LENGTH);
        assert_eq!(u64::from(tcp.raw.total_retrans), resent.total());
    });
}

fn assert_sizes(tcp: &Tcp, socket: &std::net::TcpStream) {
    let info = tcp::info(socket);
    let buffers = SockRef::from(socket);
    assert_eq!(tcp.raw.mss, info.tcpi_snd_mss);
    assert_eq!(tcp.raw.rcvbuf as usize, buffers.recv_buffer_size().expect("SO_RCVBUF"));
    assert_eq!(tcp.raw.sndbuf as usize, buffers.send_buffer_size().expect("SO_SNDBUF"));
    assert_eq!(tcp.raw.reordering, info.tcpi_reordering);
    assert_eq!((tcp.raw.ca_state, tcp.raw.packets_out, tcp.raw.lost_out), (4, 1, 1));
    assert_eq!(tcp.raw.has_socket, 1);
    let cwnd = info.tcpi_snd_cwnd;
    assert!((1..=cwnd).contains(&tcp.raw.snd_cwnd), "{} of {cwnd}", tcp.raw.snd_cwnd);
    assert!(tcp.srtt_us() > 0 && tcp.srtt_us() < 10_000_000, "{}", tcp.srtt_us());
}

fn assert_settings(tcp: &Tcp) {
    let hz = watch().host().hz;
    let netns = tcp.netns;
    let bytes =
        [netns.retries1, netns.retries2, netns.syn_retries, netns.synack_retries, netns.orphan_retries];
    assert_eq!(bytes, [4, 9, 5, 3, 2]);
    assert_eq!((netns.keepalive_time, netns.keepalive_intvl), (77 * hz, 11 * hz));
    assert_eq!(netns.keepalive_probes, 6);
    assert_eq!(netns.fin_timeout, 60 * hz);
}
