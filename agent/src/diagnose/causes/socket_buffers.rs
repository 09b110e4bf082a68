//! A queue of this socket is at its limit: the application does not read, or writes faster than the peer
//! takes.

use super::common::owner;
use super::{Finding, Story};
use crate::diagnose::wording::bytes;
use crate::diagnose::{Cause, Phase};
use crate::event::Tcp;

/// `sk_userlocks`
const SNDBUF_LOCK: u8 = 1;
const RCVBUF_LOCK: u8 = 2;

pub(super) fn receive(story: &Story) -> Option<Finding> {
    let tcp = story.tcp().filter(|tcp| !story.is_dead() && is_receive_full(tcp))?;
    let (raw, unread) = (&tcp.raw, tcp.unread_bytes());
    let who = owner(story);
    Some(
        Finding::new(
            Cause::ReceiveBufferFull,
            format!(
                "{who} does not read: {} wait, the receive \
            buffer is full",
                bytes(unread)
            ),
        )
        .saw(format!(
            "receive memory {} of {} (SO_RCVBUF), window offered \
                {}",
            raw.rmem_alloc, raw.rcvbuf, raw.rcv_wnd
        ))
        .saw(limits(raw.userlocks & RCVBUF_LOCK != 0, "SO_RCVBUF", "tcp_rmem[2]"))
        .infer("further segments are dropped, which the peer sees as loss or as a shut window")
        .advise(format!(
            "in {who}: read sooner (a thread that is stuck, a consumer that is slower \
                than the peer); a larger buffer only moves the moment"
        ))
        .advise(
            "if it reads in bursts: a larger tcp_rmem[2] or SO_RCVBUF; every such connection \
                may then take that much memory",
        ),
    )
}

fn is_receive_full(tcp: &Tcp) -> bool {
    let raw = &tcp.raw;
    tcp.unread_bytes() > 0 && raw.rcvbuf > 0 && (raw.rmem_alloc > raw.rcvbuf || raw.rcv_wnd == 0)
}

/// Not of a stall that is over, during which it had to fill up: that is told by what caused the stall.
pub(super) fn send(story: &Story) -> Option<Finding> {
    let waits = story.phase == Phase::Stalled;
    let raw = story.raw().filter(|raw| waits && raw.sndbuf > 0 && raw.wmem_queued >= raw.sndbuf)?;
    let waiting = bytes(story.undelivered());
    Some(
        Finding::new(
            Cause::SendBufferFull,
            format!(
                "{} writes faster than the peer takes: {waiting} \
            wait, the send buffer is full",
                owner(story)
            ),
        )
        .saw(format!(
            "send memory {} of {} (SO_SNDBUF), congestion window {} packets, peer's window \
                {}",
            raw.wmem_queued, raw.sndbuf, raw.snd_cwnd, raw.snd_wnd
        ))
        .saw(limits(raw.userlocks & SNDBUF_LOCK != 0, "SO_SNDBUF", "tcp_wmem[2]"))
        .infer("write() waits, or gives EAGAIN; that alone is no fault")
        .advise(
            "if the path could take more: SO_SNDBUF unset (autotuning up to tcp_wmem[2]) or \
                tcp_wmem[2] at least bandwidth times round trip; memory for every such connection",
        ),
    )
}

fn limits(locked: bool, option: &str, sysctl: &str) -> String {
    if locked {
        return format!("the application fixed {option}: no autotuning");
    }
    format!("autotuned up to {sysctl}")
}
