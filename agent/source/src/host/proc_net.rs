//! Files below `/proc/net`.

use std::collections::BTreeMap;

use agent_model::event::COUNTERS;

/// What `/proc/net/sockstat` and `sockstat6` say of TCP (`sockstat_seq_show`). Memory, orphans and allocated
/// sockets are the whole host's and of both families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    pub in_use: u64,
    pub orphans: u64,
    pub time_wait: u64,
    pub allocated: u64,
    pub pages: u64,
}

/// Words that are missing are 0.
pub fn sockets(v4: &str, v6: &str) -> Sockets {
    let row = |word| value(v4, "TCP", word).unwrap_or(0);
    Sockets {
        in_use: row("inuse") + value(v6, "TCP6", "inuse").unwrap_or(0),
        orphans: row("orphan"),
        time_wait: row("tw"),
        allocated: row("alloc"),
        pages: row("mem"),
    }
}

/// `TCP: inuse 1 orphan 0 tw 0 alloc 1 mem 358`
fn value(text: &str, protocol: &str, word: &str) -> Option<u64> {
    let row = text.lines().find_map(|line| line.strip_prefix(protocol)?.strip_prefix(':'))?;
    let mut words = row.split_ascii_whitespace();
    words.find(|name| *name == word)?;
    words.next()?.parse().ok()
}

/// Whether `*proto->memory_pressure` is set (`proto_seq_printf`): `TCP 2432 5 358 no 320 ...`.
pub fn is_under_pressure(protocols: &str) -> bool {
    let rows = protocols.lines().map(|line| line.split_ascii_whitespace());
    let mut tcp = rows.filter(|row| row.clone().next() == Some("TCP"));
    tcp.any(|mut row| row.nth(4) == Some("yes"))
}

/// [`COUNTERS`] as `/proc/net/netstat` has them: a line of names, then a line of values.
pub fn counters(netstat: &str) -> BTreeMap<Box<str>, u64> {
    let mut rows = netstat.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (rows.next().unwrap_or_default(), rows.next().unwrap_or_default());
    let pairs = names.split_ascii_whitespace().zip(values.split_ascii_whitespace());
    let wanted = pairs.filter(|(name, _)| COUNTERS.contains(name));
    wanted.filter_map(|(name, value)| Some((name.into(), value.parse().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sockstat() {
        let v4 = "sockets: used 19\nTCP: inuse 7 orphan 2 tw 3 alloc 9 mem 358\nUDP: inuse 1 mem 209\n";
        let found = sockets(v4, "TCP6: inuse 4\nUDP6: inuse 0\n");
        let expected = Sockets { in_use: 11, orphans: 2, time_wait: 3, allocated: 9, pages: 358 };
        assert_eq!(found, expected);
        assert_eq!(sockets("", "TCP6"), Sockets::default());
    }

    #[test]
    fn reads_pressure_of_tcp_alone() {
        let page = |mptcp, tcp| {
            format!(
                "protocol size sockets memory press\nMPTCP 2064 0 98 {mptcp} 0\nTCP 2432 5 98 {tcp} 320\n"
            )
        };
        assert!(!is_under_pressure(&page("yes", "no")) && is_under_pressure(&page("no", "yes")));
    }

    #[test]
    fn reads_only_what_is_reported() {
        let text =
            "TcpExt: SyncookiesSent PruneCalled TCPRcvQDrop\nTcpExt: 1 2 3\nIpExt: PruneCalled\nIpExt: 9\n";
        let found: Vec<_> = counters(text).into_iter().collect();
        assert_eq!(found, [("PruneCalled".into(), 2), ("TCPRcvQDrop".into(), 3)]);
    }
}
