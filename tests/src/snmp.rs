//! The kernel's own counters of one network namespace: the truth to compare with.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Sub;

use crate::netns::Netns;
use crate::wait;

/// A reading of `/proc/net/{snmp,netstat,snmp6}`, named as `nstat` names them
/// (`TcpRetransSegs`, `TcpExtTCPTimeouts`), or the difference of two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snmp(BTreeMap<String, i64>);

impl Snmp {
    /// Reads the counters of `netns` (`snmp_seq_show`, `netstat_seq_show`).
    pub fn read(netns: &Netns) -> Self {
        netns.run(|| {
            let mut counters = pairs(&proc_net("snmp"));
            counters.append(&mut pairs(&proc_net("netstat")));
            counters.append(&mut rows(&proc_net("snmp6")));
            Self(counters)
        })
    }

    /// One counter; a name that the kernel does not know is an error of the test.
    pub fn get(&self, name: &str) -> u64 {
        u64::try_from(self.signed(name)).unwrap_or_else(|_| panic!("{name} went backwards"))
    }

    /// What differs from zero, for messages.
    pub fn changed(&self) -> BTreeMap<&str, i64> {
        self.0.iter().filter(|(_, value)| **value != 0).map(|(name, value)| (name.as_str(), *value)).collect()
    }

    fn signed(&self, name: &str) -> i64 {
        *self.0.get(name).unwrap_or_else(|| panic!("this kernel has no counter {name}"))
    }
}

impl Sub<&Snmp> for Snmp {
    type Output = Self;

    fn sub(mut self, before: &Snmp) -> Self {
        for (name, value) in &mut self.0 {
            *value -= before.0.get(name).copied().unwrap_or_default();
        }
        self
    }
}

/// Counts from the moment it is made.
#[derive(Debug)]
pub struct Meter<'a> {
    netns: &'a Netns,
    before: Snmp,
}

impl<'a> Meter<'a> {
    /// Starts counting.
    pub fn new(netns: &'a Netns) -> Self {
        Self { netns, before: Snmp::read(netns) }
    }

    /// What was counted so far.
    pub fn read(&self) -> Snmp {
        Snmp::read(self.netns) - &self.before
    }

    /// One counter so far.
    pub fn get(&self, name: &str) -> u64 {
        self.read().get(name)
    }

    /// Waits until a counter has grown by `count`.
    pub fn reach(&self, name: &str, count: u64) {
        wait::until(&format!("{name} to grow by {count}"), || self.get(name) >= count);
    }
}

/// A row of `/proc/net/sockstat`, such as `tw` of `TCP`. `orphan` and `mem` are the whole host's.
pub fn sockstat(netns: &Netns, protocol: &str, column: &str) -> u64 {
    let text = netns.run(|| proc_net("sockstat"));
    let row = text.lines().find_map(|line| line.strip_prefix(protocol)?.strip_prefix(": "));
    let mut words = row.unwrap_or_else(|| panic!("no {protocol} in sockstat")).split(' ');
    let value = words.by_ref().find(|word| *word == column).and_then(|_| words.next());
    value.unwrap_or_else(|| panic!("no {column} in sockstat")).parse().expect("a number in sockstat")
}

fn proc_net(file: &str) -> String {
    let path = format!("/proc/thread-self/net/{file}");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {path}: {error}"))
}

/// Lines come in pairs: names, then values, each behind the same prefix.
fn pairs(text: &str) -> BTreeMap<String, i64> {
    let lines: Vec<&str> = text.lines().collect();
    let rows = lines.chunks_exact(2).map(|pair| (pair[0].split(' '), pair[1].split(' ')));
    rows.flat_map(|(mut names, values)| {
        let prefix = names.next().unwrap_or_default().trim_end_matches(':').to_owned();
        names.zip(values.skip(1)).map(move |(name, value)| (format!("{prefix}{name}"), parse(value)))
    })
    .collect()
}

fn rows(text: &str) -> BTreeMap<String, i64> {
    let rows = text.lines().filter_map(|line| line.split_once(char::is_whitespace));
    rows.map(|(name, value)| (name.to_owned(), parse(value.trim()))).collect()
}

fn parse(value: &str) -> i64 {
    // Counters are unsigned 64 bit, a few rows (Tcp MaxConn) are signed: two's complement serves both.
    value.parse().unwrap_or_else(|_| value.parse::<u64>().expect("a number").cast_signed())
}
