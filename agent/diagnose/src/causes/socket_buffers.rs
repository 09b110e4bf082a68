//! A queue of this socket is at its limit: the application does not read, or writes faster than the peer
//! takes.

use std::time::Duration;

use agent_common::record;
use agent_correlate::timeline::What;
use agent_model::cause::Cause;
use agent_model::drops::Class;
use agent_model::event::Tcp;
use agent_model::signals::packet_dropped::Dropped;
use agent_model::units::{bytes, jiffies, plural, size, time};

use super::common::{holders, owner};
use super::shortage::{PageSize, host};
use super::{Finding, Story};
use crate::Phase;

/// `sk_userlocks`
const SNDBUF_LOCK: u8 = 1;
const RCVBUF_LOCK: u8 = 2;

pub(super) fn receive(story: &Story) -> Option<Finding> {
    let tcp = story.tcp().filter(|tcp| !story.is_dead() && is_receive_full(story, tcp))?;
    let raw = &tcp.raw;
    let who = owner(story);
    let unread = bytes(tcp.unread_bytes());
    Some(
        Finding::new(
            Cause::ReceiveBufferFull,
            format!("{who} does not read: {unread} wait, the receive buffer is full"),
        )
        .saw(format!(
            "receive memory {} of {} (SO_RCVBUF), {} more in the backlog, window offered {}",
            raw.rmem_alloc, raw.rcvbuf, raw.backlog, raw.rcv_wnd
        ))
        .saw(receive_limit(story, tcp))
        .saw_if(holders(story))
        .saw_if(drops(story))
        .saw_if(story.memory.filter(|memory| memory.pressure).and_then(|_| host(story)))
        .infer("further segments are dropped, which the peer sees as loss or as a shut window")
        .advise(format!(
            "in {who}: read sooner (a thread that is stuck, a consumer that is slower \
                than the peer); a larger buffer only moves the moment"
        ))
        .advise(larger_receive(story, tcp)),
    )
}

/// A segment does not fit though the buffer is not full to the byte, from 6.18 on.
fn is_receive_full(story: &Story, tcp: &Tcp) -> bool {
    let raw = &tcp.raw;
    let full = raw.rmem_alloc > raw.rcvbuf || raw.rcv_wnd == 0 || last_drop(story).is_some();
    tcp.unread_bytes() > 0 && raw.rcvbuf > 0 && full
}

/// The kernel's name of the reason, if a dropped segment is the last thing that happened.
fn last_drop<'a>(story: &Story<'a>) -> Option<&'a str> {
    let What::PacketDropped(dropped @ Dropped { reason, .. }) = story.entries().last()?.what else {
        return None;
    };
    (dropped.class(story.host) == Class::Shortage).then_some(())?;
    story.host.drop_reasons.get(&i32::from(reason)).map(|name| &**name)
}

fn drops(story: &Story) -> Option<String> {
    let dropped = story.connection?.totals().dropped;
    let reason = last_drop(story).map_or_else(String::new, |name| format!(", the last one for {name}"));
    (dropped > 0).then(|| format!("{} of it dropped here{reason}", plural(dropped, "segment")))
}

fn receive_limit(story: &Story, tcp: &Tcp) -> String {
    if tcp.raw.userlocks & RCVBUF_LOCK == 0 {
        return autotuned("tcp_rmem[2]", tcp.rmem());
    }
    fixed("SO_RCVBUF", "rmem_max", story.memory.map(|memory| memory.buffers.rmem_max))
}

fn larger_receive(story: &Story, tcp: &Tcp) -> String {
    format!(
        "if it reads in bursts: a larger tcp_rmem[2] or SO_RCVBUF; every such connection may then take that \
        much memory{}",
        all_sockets(story, tcp.raw.rcvbuf)
    )
}

/// Not of a stall that is over, during which it had to fill up: that is explained by what caused the stall. Unless
/// somebody looks, and it is full now.
pub(super) fn send(story: &Story) -> Option<Finding> {
    let waits = story.phase == Phase::Stalled || story.looked;
    let tcp =
        story.tcp().filter(|tcp| waits && tcp.raw.sndbuf > 0 && tcp.raw.wmem_queued >= tcp.raw.sndbuf)?;
    let raw = &tcp.raw;
    let waiting = bytes(story.undelivered());
    Some(
        Finding::new(
            Cause::SendBufferFull,
            format!(
                "{} writes faster than the peer takes: {waiting} wait, the send buffer is full",
                owner(story)
            ),
        )
        .saw(format!(
            "send memory {} of {} (SO_SNDBUF), congestion window {} packets, peer's window {}",
            raw.wmem_queued, raw.sndbuf, raw.snd_cwnd, raw.snd_wnd
        ))
        .saw(send_limit(story, tcp))
        .saw_if(holders(story))
        .saw_if(held_up(story))
        .infer("write() waits, or gives EAGAIN; that alone is no fault")
        .advise(format!(
            "if the path could take more: SO_SNDBUF unset (autotuning up to tcp_wmem[2]) or tcp_wmem[2] at \
            least bandwidth times round trip{}; every such connection may then take that much memory{}",
            needed(raw),
            all_sockets(story, raw.sndbuf)
        )),
    )
}

/// Bytes that fill the path at its rate now: the congestion window each round trip.
fn needed(raw: &record::Tcp) -> String {
    let window = u64::from(raw.snd_cwnd) * u64::from(raw.mss);
    let rtt = Duration::from_micros(u64::from(raw.srtt_us) / 8);
    if window == 0 || rtt.is_zero() {
        return String::new();
    }
    format!(" (the window now is {} each {})", size(window), time(rtt))
}

/// What it is if all have as much.
fn all_sockets(story: &Story, each: u32) -> String {
    let Some(memory) = story.memory.filter(|memory| memory.sockets > 0) else { return String::new() };
    let all = memory.sockets.saturating_mul(each.into());
    let high = PageSize::of(story).bytes(memory.limits[2]);
    let share = all.saturating_mul(100).checked_div(high);
    let share = share.map_or_else(String::new, |percent| format!(", {percent} % of tcp_mem's high"));
    let (sockets, each) = (plural(memory.sockets, "socket"), size(each.into()));
    format!(": {each} for each of the host's {sockets} are {}{share}", size(all))
}

fn send_limit(story: &Story, tcp: &Tcp) -> String {
    if tcp.raw.userlocks & SNDBUF_LOCK == 0 {
        return autotuned("tcp_wmem[2]", tcp.wmem());
    }
    fixed("SO_SNDBUF", "wmem_max", story.memory.map(|memory| memory.buffers.wmem_max))
}

fn autotuned(sysctl: &str, most: Option<u32>) -> String {
    let most = most.map_or_else(String::new, |most| format!(", {most} bytes"));
    format!("autotuned up to {sysctl}{most}")
}

/// The kernel doubles what the application asks for.
fn fixed(option: &str, sysctl: &str, most: Option<u64>) -> String {
    let most = most.filter(|most| *most > 0);
    let most = most
        .map_or_else(String::new, |most| format!(", at most {} (twice {sysctl})", most.saturating_mul(2)));
    format!("the application fixed {option}: no autotuning{most}")
}

/// What the kernel's chronographs show of a sender (`tcp_chrono_start`).
pub(super) fn held_up(story: &Story) -> Option<String> {
    let [busy, window, buffer] = story.raw()?.chrono;
    let known = busy != u32::MAX && (window > 0 || buffer > 0);
    let hz = story.host.hz;
    let all = busy.saturating_add(window).saturating_add(buffer);
    let by = [(window, "the peer's window"), (buffer, "its send buffer")];
    let by = by.into_iter().filter(|(time, _)| *time > 0);
    let by: Vec<_> = by.map(|(time, what)| format!("{} by {what}", jiffies(time, hz))).collect();
    known.then(|| format!("blocked {} of {} with data to send", by.join(" and "), jiffies(all, hz)))
}
