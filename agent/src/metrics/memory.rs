//! TCP's memory on the host, read from `/proc` at the scrape. Absent is not zero: a number that can't be read has no
//! series.

use std::fmt;

use agent_model::event::{HostFacts, LogLines, TcpMemory};
use prometheus_client::encoding::DescriptorEncoder;

use super::family::{self, MetricFamily};
use super::page::{Labels, counters, descriptor, gauges};

/// The kernel's name of the time under pressure, ms, which has a family of its own.
const CHRONO: &str = "TCPMemoryPressuresChrono";

pub(super) fn encode(
    memory: Option<&TcpMemory>,
    host: &HostFacts,
    to: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let Some(memory) = memory else { return Ok(()) };
    let bytes = |pages: u64| pages.saturating_mul(host.page_size.into());
    gauge(to, &family::TCP_MEMORY, bytes(memory.pages))?;
    let limits = memory
        .tcp_mem()
        .into_iter()
        .flat_map(|limits| ["low", "pressure", "high"].into_iter().zip(limits.map(bytes)));
    gauges(to, &family::TCP_MEMORY_LIMIT, limits)?;
    gauge(to, &family::TCP_MEMORY_PRESSURE, u64::from(memory.pressure))?;
    sockets(memory, to)?;
    counted(memory, to)
}

fn sockets(memory: &TcpMemory, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let states = [
        ("allocated", memory.sockets),
        ("in_use", memory.in_use),
        ("orphan", memory.orphans),
        ("time_wait", memory.time_wait),
    ];
    gauges(to, &family::SOCKETS, states)?;
    memory.orphans_limit().map_or(Ok(()), |limit| gauge(to, &family::ORPHANS_LIMIT, limit))
}

fn counted(memory: &TcpMemory, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let plain = memory.counters.iter().filter(|(name, _)| &***name != CHRONO);
    counters(to, &family::NETSTAT, plain.map(|(name, count)| (vec![("counter", &**name)], *count)))?;
    let pressure = memory.counter(CHRONO).map(|ms| (Labels::new(), ms as f64 / 1000.0));
    counters(to, &family::TCP_MEMORY_PRESSURE_TIME, pressure)?;
    let lines = memory.log.into_iter().flat_map(|lines| {
        let LogLines { out_of_memory, too_many_orphans } = lines;
        [("out_of_memory", out_of_memory), ("too_many_orphans", too_many_orphans)]
    });
    counters(to, &family::KERNEL_LOG_LINES, lines.map(|(line, count)| (vec![("line", line)], count)))
}

fn gauge(to: &mut DescriptorEncoder<'_>, family: &MetricFamily, value: u64) -> fmt::Result {
    descriptor(to, family)?.encode_gauge(&value)
}
