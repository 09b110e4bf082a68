//! Facts about the host that events need to be understood.

use std::collections::BTreeMap;
use std::io;

use agent_model::event::HostFacts;

use super::btf::Btf;

/// A change of the wall clock against the monotonic one that is worth telling, ns.
const CLOCK_STEP: i64 = 1_000_000;

/// What does not change while the agent runs.
pub fn host(btf: &Btf<'_>) -> io::Result<HostFacts> {
    Ok(HostFacts {
        hz: hz()?,
        release: release().into(),
        reset_reasons: reset_reasons(btf),
        page_size: page_size(),
        drop_reasons: drop_reasons(btf),
    })
}

/// Timer interrupts a second, exactly and without privilege: the resolution of the coarse clock is one tick
/// (`posix_get_coarse_res` gives `KTIME_LOW_RES` = `TICK_NSEC`, kernel/time/posix-timers.c).
pub fn hz() -> io::Result<u32> {
    let tick = clock(libc::clock_getres, libc::CLOCK_MONOTONIC_COARSE)?;
    u32::try_from((1_000_000_000 + tick / 2) / tick.max(1)).map_err(io::Error::other)
}

/// Nanoseconds of `CLOCK_MONOTONIC`, which is what `bpf_ktime_get_ns` reads.
pub fn monotonic() -> io::Result<u64> {
    clock(libc::clock_gettime, libc::CLOCK_MONOTONIC).map(i64::cast_unsigned)
}

/// What the monotonic clock showed, or will show, when the wall clock as it is set now shows `realtime`; ns. Below 0
/// before the host began.
pub fn monotonic_at(realtime: i64) -> io::Result<i64> {
    Ok(realtime.saturating_sub(offset()?))
}

/// `CLOCK_REALTIME - CLOCK_MONOTONIC`.
fn offset() -> io::Result<i64> {
    let realtime = clock(libc::clock_gettime, libc::CLOCK_REALTIME)?;
    Ok(realtime - clock(libc::clock_gettime, libc::CLOCK_MONOTONIC)?)
}

fn clock(
    ask: unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> libc::c_int,
    id: libc::clockid_t,
) -> io::Result<i64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for the call to write.
    if unsafe { ask(id, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(time.tv_sec * 1_000_000_000 + time.tv_nsec)
}

/// The wall clock against the monotonic one.
#[derive(Debug, Default)]
pub struct Clock {
    told: Option<i64>,
}

impl Clock {
    /// `CLOCK_REALTIME - CLOCK_MONOTONIC`, if it was never told or the wall clock was set since.
    pub fn step(&mut self) -> io::Result<Option<i64>> {
        let offset = offset()?;
        if self.told.is_some_and(|told| told.abs_diff(offset) < CLOCK_STEP.unsigned_abs()) {
            return Ok(None);
        }
        self.told = Some(offset);
        Ok(Some(offset))
    }
}

/// `uname -r`.
pub fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

fn page_size() -> u32 {
    // SAFETY: no preconditions.
    u32::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// The reasons for which a packet that came to a socket is dropped for want of memory or of room. Not told are
/// those of a sender's own doing, such as data beyond the window.
const DROP_REASONS: [&str; 6] = [
    "PROTO_MEM",
    "SOCKET_BACKLOG",
    "SOCKET_RCVBUFF",
    "TCP_LISTEN_OVERFLOW",
    "TCP_OFO_QUEUE_PRUNE",
    "TCP_ZEROWINDOW",
];

/// Number and name of those of [`DROP_REASONS`] that the kernel has.
pub fn drop_reasons(btf: &Btf<'_>) -> BTreeMap<i32, Box<str>> {
    let values = btf.enum_values("skb_drop_reason").unwrap_or_default();
    let named =
        values.iter().filter_map(|(name, value)| Some((*value, name.strip_prefix("SKB_DROP_REASON_")?)));
    named.filter(|(_, name)| DROP_REASONS.contains(name)).map(|(value, name)| (value, name.into())).collect()
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
