//! Facts about the host that events need to be understood.

use std::collections::BTreeMap;
use std::io;

use agent_model::event::HostFacts;
use rustix::param::page_size;
use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

use super::btf::Btf;

/// A change of the wall clock against the monotonic one that is worth reporting, ns.
const CLOCK_STEP: i64 = 1_000_000;

/// What does not change while the agent runs.
pub fn host(btf: &Btf<'_>) -> io::Result<HostFacts> {
    Ok(HostFacts {
        hz: hz()?,
        release: release().into(),
        reset_reasons: reset_reasons(btf),
        page_size: page_size() as u32,
        drop_reasons: drop_reasons(btf),
    })
}

/// Timer interrupts a second, exactly and without privilege: the resolution of the coarse clock is one tick
/// (`posix_get_coarse_res` gives `KTIME_LOW_RES` = `TICK_NSEC`, kernel/time/posix-timers.c).
pub fn hz() -> io::Result<u32> {
    let tick = nanos(clock_getres(ClockId::MonotonicCoarse));
    u32::try_from((1_000_000_000 + tick / 2) / tick.max(1)).map_err(io::Error::other)
}

/// Nanoseconds of `CLOCK_MONOTONIC`, which is what `bpf_ktime_get_ns` reads.
pub fn monotonic() -> io::Result<u64> {
    u64::try_from(clock(ClockId::Monotonic)).map_err(io::Error::other)
}

/// What the monotonic clock showed, or will show, when the wall clock as it is set now shows `realtime`; ns. Below 0
/// before the host began.
pub fn monotonic_at(realtime: i64) -> i64 {
    realtime.saturating_sub(offset())
}

/// `CLOCK_REALTIME - CLOCK_MONOTONIC`.
fn offset() -> i64 {
    clock(ClockId::Realtime) - clock(ClockId::Monotonic)
}

fn clock(id: ClockId) -> i64 {
    nanos(clock_gettime(id))
}

fn nanos(time: Timespec) -> i64 {
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// The wall clock against the monotonic one.
#[derive(Debug, Default)]
pub struct Clock {
    sent: Option<i64>,
}

impl Clock {
    /// `CLOCK_REALTIME - CLOCK_MONOTONIC`, if it was never sent or the wall clock was set since.
    pub fn step(&mut self) -> Option<i64> {
        let offset = offset();
        if self.sent.is_some_and(|sent| sent.abs_diff(offset) < CLOCK_STEP.unsigned_abs()) {
            return None;
        }
        self.sent = Some(offset);
        Some(offset)
    }
}

/// `uname -r`.
pub fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// Number and name of the kernel's reasons for dropping a packet.
pub fn drop_reasons(btf: &Btf<'_>) -> BTreeMap<i32, Box<str>> {
    const NO_REASONS: [&str; 3] = ["MAX", "SUBSYS_MASK", "NOT_DROPPED_YET"];
    let values = btf.enum_values("skb_drop_reason").unwrap_or_default();
    let named =
        values.iter().filter_map(|(name, value)| Some((*value, name.strip_prefix("SKB_DROP_REASON_")?)));
    named.filter(|(_, name)| !NO_REASONS.contains(name)).map(|(value, name)| (value, name.into())).collect()
}

/// Numbers above 10 changed their meaning between 6.10 and 6.12, so only BTF may name them.
fn reset_reasons(btf: &Btf<'_>) -> BTreeMap<i32, Box<str>> {
    let values = btf.enum_values("sk_rst_reason").unwrap_or_default();
    values
        .into_iter()
        .filter(|(name, _)| name != "SK_RST_REASON_MAX")
        .map(|(name, value)| (value, name.trim_start_matches("SK_RST_REASON_").into()))
        .collect()
}
