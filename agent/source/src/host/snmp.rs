//! The kernel's own counters of TCP, for the comparison with the agent's.

use std::collections::BTreeMap;

use agent_model::event::Snmp;

use super::{net, settings};

/// Those of the agent's network namespace now; `None` where they can't be read.
pub fn snmp() -> Option<Snmp> {
    let mut counters = pairs(&net("snmp").ok()?, "Tcp:");
    counters.append(&mut pairs(&net("netstat").ok()?, "TcpExt:"));
    let one = |name: &str| counters.get(name).copied();
    Some(Snmp {
        netns: settings::netns(),
        out_rsts: one("OutRsts")?,
        retrans_segs: one("RetransSegs")?,
        retrans_fail: one("TCPRetransFail")?,
    })
}

/// A line of names and a line of values, each behind the same prefix.
pub(super) fn pairs(text: &str, prefix: &str) -> BTreeMap<String, u64> {
    let mut rows = text.lines().filter_map(|line| line.strip_prefix(prefix));
    let (names, values) = (rows.next().unwrap_or_default(), rows.next().unwrap_or_default());
    let pairs = names.split_ascii_whitespace().zip(values.split_ascii_whitespace());
    // MaxConn is -1.
    pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_row_of_its_protocol_alone() {
        let text = "Tcp: MaxConn RetransSegs OutRsts\nTcp: -1 7 9\nUdp: OutRsts\nUdp: 1\nTcpExt: OutRsts\n";
        let found: Vec<_> = pairs(text, "Tcp:").into_iter().collect();
        assert_eq!(found, [("OutRsts".to_owned(), 9), ("RetransSegs".to_owned(), 7)]);
    }

    #[test]
    fn the_running_kernel_has_all_of_them() {
        assert!(snmp().is_some_and(|snmp| snmp.netns > 0));
    }
}
