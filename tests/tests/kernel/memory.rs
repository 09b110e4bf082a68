//! Memory refused to sockets.

use std::fs;
use std::net::UdpSocket;

use agent_model::event::{Detail, Direction, KernelEvent};
use agent_model::signals::{BufLimitExceeded, RcvqueueFull};
use socket2::SockRef;
use tests::link::{Family, Host};
use tests::scenes::memory;
use tests::skip::skip;
use tests::wait;

use crate::running;
use crate::watch::{self, watch};

const UDP_MEM: &str = "/proc/sys/net/ipv4/udp_mem";
const RMEM_MAX: &str = "/proc/sys/net/core/rmem_max";

/// Sets a setting of the whole host and returns what it was.
fn set(path: &str, value: &str) -> String {
    let before = fs::read_to_string(path).unwrap_or_else(|error| panic!("read {path}: {error}"));
    fs::write(path, value).unwrap_or_else(|error| panic!("write {path}: {error}"));
    before
}

#[test]
fn a_full_ping_socket_tells_each_refusal() {
    watch::each(|family| {
        let pair = watch::pair();
        let full = memory::rcvqueue_full(&pair, family);
        let events = watch().settled(&pair.client);
        let refusals: Vec<_> = events
            .iter()
            .filter_map(|event| {
                let Detail::RcvqueueFull(RcvqueueFull { rcvbuf, truesize, rmem_alloc }) = event.detail else {
                    return None;
                };
                Some((rcvbuf, truesize, rmem_alloc))
            })
            .collect();
        assert_eq!(refusals.len() as u64, full.refused);
        for (rcvbuf, truesize, rmem_alloc) in refusals {
            assert_eq!(u64::from(rcvbuf), full.rcvbuf);
            assert!(truesize > 0 && rmem_alloc > 0);
        }
    });
}

/// Up to a megabyte a processor goes uncounted, hence the amount.
#[test]
fn udp_beyond_its_memory_is_refused() {
    if !running::is_ours("udp_beyond_its_memory_is_refused") {
        return;
    }
    let pair = watch::pair();
    let socket =
        |host: &Host| host.run(|| UdpSocket::bind(host.socket_address(Family::V4, 0)).expect("bind"));
    let (receiver, sender) = (socket(&pair.server), socket(&pair.client));
    let largest = set(RMEM_MAX, "67108864");
    SockRef::from(&receiver).set_recv_buffer_size(32 << 20).expect("SO_RCVBUF");
    set(RMEM_MAX, &largest);
    let before = set(UDP_MEM, "1 1 1");
    let to = receiver.local_addr().expect("local address");
    let (protocol, allocated) = wait::some("buf_limit_exceeded", || {
        // A sender whose own memory is refused hears of it.
        let _ = sender.send_to(&vec![b'x'; 32 * 1024], to);
        watch().events(&pair.server).iter().find_map(refused_to_receive)
    });
    set(UDP_MEM, &before);
    assert_eq!((&*protocol, allocated > 0), ("UDP", true));
}

fn refused_to_receive(event: &KernelEvent) -> Option<(Box<str>, i64)> {
    let Detail::BufLimitExceeded(refusal) = &event.detail else { return None };
    let BufLimitExceeded { direction, protocol, allocated, .. } = refusal;
    (*direction == Direction::Receive).then(|| (protocol.clone(), *allocated))
}

#[test]
fn tcp_beyond_its_cgroups_memory_is_refused() {
    let pair = watch::pair();
    match memory::send_refused(&pair, Family::V4) {
        Ok((connection, _cgroup)) => {
            let event = watch().some(&pair.client, "buf_limit_exceeded", |event| {
                let Detail::BufLimitExceeded(BufLimitExceeded { direction, protocol, .. }) = &event.detail
                else {
                    return None;
                };
                (*direction == Direction::Send && &**protocol == "TCP").then(|| event.clone())
            });
            assert_eq!(event.endpoint.local, connection.client_side.local);
            assert!(event.tcp.is_some());
        }
        Err(reason) => skip("tcp_beyond_its_cgroups_memory_is_refused", &reason),
    }
}
