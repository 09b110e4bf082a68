//! How many packets this host dropped, for advice: the exact numbers are the kernel side's counters.

use std::collections::BTreeMap;

/// Pairs of a namespace and a reason that are counted at most.
const ROWS: usize = 1024;

/// Packets by the network namespace where they died and the number of the kernel's reason, as far as they had a line of
/// their own or stood behind one.
#[derive(Debug, Default)]
pub struct DropCounts(BTreeMap<(u32, u32), u64>);

impl DropCounts {
    pub fn add(&mut self, netns: u32, reason: u32, packets: u32) {
        let full = self.0.len() >= ROWS;
        let key = (netns, reason);
        if full && !self.0.contains_key(&key) {
            return;
        }
        *self.0.entry(key).or_default() += u64::from(packets);
    }

    /// Network namespace, reason and packets.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32, u64)> {
        self.0.iter().map(|(&(netns, reason), &packets)| (netns, reason, packets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_so_many_rows() {
        let mut counts = DropCounts::default();
        (0..=ROWS as u32).for_each(|netns| counts.add(netns, 12, 1));
        counts.add(0, 12, 5);
        assert_eq!((counts.iter().next(), counts.iter().count()), (Some((0, 12, 6)), ROWS));
    }
}
