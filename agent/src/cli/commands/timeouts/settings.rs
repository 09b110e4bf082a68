//! The values a schedule is made from, and where each comes from.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use agent_source::kernel::facts;

use super::{Rtos, Time, Timeouts};

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From an option.
    Given,
    /// From this network namespace's sysctls, or this kernel.
    Host,
    /// This kernel has no such setting: what it does instead.
    Default,
}

/// A value and where it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Value<T> {
    /// The value.
    pub value: T,
    /// Where it comes from.
    pub source: Source,
}

/// This machine's settings: a sysctl by its name below `net.ipv4`, and the tick.
pub struct Host {
    sysctls: PathBuf,
    hz: Option<u32>,
}

impl Host {
    /// The network namespace of this process.
    pub fn here() -> Self {
        Self { sysctls: "/proc/sys/net/ipv4".into(), hz: facts::hz().ok() }
    }

    /// A machine for tests.
    #[cfg(test)]
    pub fn at(sysctls: PathBuf, hz: Option<u32>) -> Self {
        Self { sysctls, hz }
    }

    fn sysctl(&self, name: &str) -> Option<u64> {
        fs::read_to_string(self.sysctls.join(name)).ok()?.trim().parse().ok()
    }

    fn value<T>(&self, given: Option<T>, name: &str, unit: fn(u64) -> T, default: T) -> Value<T> {
        let host = || self.sysctl(name).map(unit);
        pick(given, host, default)
    }
}

fn pick<T>(given: Option<T>, host: impl FnOnce() -> Option<T>, default: T) -> Value<T> {
    if let Some(value) = given {
        return Value { value, source: Source::Given };
    }
    match host() {
        Some(value) => Value { value, source: Source::Host },
        None => Value { value: default, source: Source::Default },
    }
}

/// Every value, whether the schedule asked for needs it or not.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// `tcp_retries2`
    pub retries2: Value<u8>,
    /// RTOs when the peer falls silent.
    pub rtos: Value<Rtos>,
    /// `tcp_rto_min_us`
    pub rto_min: Value<Duration>,
    /// `tcp_rto_max_ms`
    pub rto_max: Value<Duration>,
    /// `TCP_USER_TIMEOUT`
    pub user_timeout: Option<Duration>,
    /// `tcp_orphan_retries`
    pub orphan_retries: Value<u8>,
    /// `tcp_syn_retries`
    pub syn_retries: Value<u8>,
    /// `tcp_syn_linear_timeouts`
    pub syn_linear: Value<u8>,
    /// `tcp_synack_retries`
    pub synack_retries: Value<u8>,
    /// `tcp_keepalive_time`
    pub keepalive_time: Value<Duration>,
    /// `tcp_keepalive_intvl`
    pub keepalive_intvl: Value<Duration>,
    /// `tcp_keepalive_probes`
    pub keepalive_probes: Value<u8>,
    /// Ticks a second.
    pub hz: Value<u32>,
}

impl Settings {
    /// The options over the host's.
    pub fn new(args: &Timeouts, host: &Host) -> Self {
        let count = |given, name, default| host.value(given, name, |n| n.min(255) as u8, default);
        let time = |given: Option<Time>, name, unit: fn(u64) -> Duration, default| {
            host.value(given.map(|Time(time)| time), name, unit, Duration::from_secs(default))
        };
        let hz = pick(args.hz, || host.hz, 250);
        let rto_min = host.value(
            args.rto_min.map(|Time(time)| time),
            "tcp_rto_min_us",
            Duration::from_micros,
            Duration::from_millis(200),
        );
        Self {
            retries2: count(args.retries2, "tcp_retries2", 15),
            rtos: rtos(args, rto_min, hz.value),
            rto_min,
            rto_max: time(args.rto_max, "tcp_rto_max_ms", Duration::from_millis, 120),
            user_timeout: args.user_timeout.map(|Time(time)| time),
            orphan_retries: count(args.orphan_retries, "tcp_orphan_retries", 0),
            syn_retries: count(args.syn_retries, "tcp_syn_retries", 6),
            syn_linear: count(args.syn_linear, "tcp_syn_linear_timeouts", 0),
            synack_retries: count(args.synack_retries, "tcp_synack_retries", 5),
            keepalive_time: time(args.keepalive_time, "tcp_keepalive_time", Duration::from_secs, 7200),
            keepalive_intvl: time(args.keepalive_intvl, "tcp_keepalive_intvl", Duration::from_secs, 75),
            keepalive_probes: count(args.keepalive_probes, "tcp_keepalive_probes", 9),
            hz,
        }
    }
}

/// By default the shortest RTO there is: the round trip is positive, so `rto_min` and one jiffy. Backwards
/// from there to a second, which is slow.
fn rtos(args: &Timeouts, rto_min: Value<Duration>, hz: u32) -> Value<Rtos> {
    if let Some(value) = args.rto {
        return Value { value, source: Source::Given };
    }
    let tick = Duration::from_secs(1) / hz;
    let least = tick
        * (rto_min.value.as_nanos().div_ceil(tick.as_nanos()) as u32
            + u32::from(is_whole(rto_min.value, tick)));
    let most = if args.within.is_some() { least.max(Duration::from_secs(1)) } else { least };
    Value { value: Rtos { least, most }, source: rto_min.source }
}

fn is_whole(time: Duration, tick: Duration) -> bool {
    time.as_nanos().is_multiple_of(tick.as_nanos())
}
