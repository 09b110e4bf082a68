//! A longer accept queue, and the memory that it may take.

use agent_model::units::size;

/// What a socket takes before anything was received (`struct tcp_sock`), bytes.
const SOCKET: u64 = 2 << 10;

/// A backlog for bursts eight times as large; 16 bit are enough for every program.
pub fn larger(backlog: u64) -> u64 {
    backlog.max(1).saturating_mul(8).clamp(128, 65_535).max(backlog)
}

/// `1024 that wait take 2.0 MiB; if each client sends at once, up to 128.0 KiB more each (tcp_rmem): 128.0 MiB,
/// 5 % of tcp_mem's high`. `rcvbuf` is what a new socket's receive queue takes, `high` the limit of all, bytes.
pub fn cost(waiting: u64, rcvbuf: u64, high: u64) -> String {
    let sockets = format!("{waiting} that wait take {}", size(waiting.saturating_mul(SOCKET)));
    let data = waiting.saturating_mul(rcvbuf);
    match data.saturating_mul(100).checked_div(high).filter(|_| rcvbuf > 0) {
        Some(percent) => format!(
            "{sockets}; if each client sends at once, up to {} more each (tcp_rmem): {}, {percent} % of tcp_mem's high",
            size(rcvbuf),
            size(data)
        ),
        None => sockets,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_as_large_as_what_waits_in_it() {
        assert_eq!([1, 128, 4096, 60_000, 100_000].map(larger), [128, 1024, 32_768, 65_535, 100_000]);
        assert_eq!(
            cost(10_000, 32 << 10, 750 << 20),
            "10000 that wait take 19.5 MiB; if each client sends at once, up to 32.0 KiB more each (tcp_rmem): \
            312.5 MiB, 41 % of tcp_mem's high"
        );
        assert_eq!(cost(128, 131_072, 0), "128 that wait take 256.0 KiB");
    }
}
