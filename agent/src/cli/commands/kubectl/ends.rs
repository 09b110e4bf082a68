//! Which diagnoses of several nodes are of one connection.

use std::collections::{HashMap, VecDeque};

/// Connections remembered: the lines of the two ends come within a round trip, or a timeout, of each other.
const REMEMBERED: usize = 4096;

/// The node whose line about a connection came first.
#[derive(Debug, Default)]
pub(super) struct Ends {
    first: HashMap<String, usize>,
    order: VecDeque<String>,
}

impl Ends {
    /// The other node whose line about this connection came before that of `node`, if there was one.
    pub(super) fn other(&mut self, shared_id: &str, node: usize) -> Option<usize> {
        if let Some(&first) = self.first.get(shared_id) {
            return Some(first).filter(|first| *first != node);
        }
        if self.order.len() == REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.first.remove(&oldest);
        }
        self.order.push_back(shared_id.to_owned());
        self.first.insert(shared_id.to_owned(), node);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_end_follows_from_the_first() {
        let mut ends = Ends::default();
        assert_eq!(ends.other("a", 1), None);
        assert_eq!(ends.other("a", 1), None, "once more");
        assert_eq!(ends.other("a", 0), Some(1));
        assert_eq!(ends.other("b", 0), None);
    }

    #[test]
    fn what_is_long_past_is_forgotten() {
        let mut ends = Ends::default();
        for id in 0..=REMEMBERED {
            ends.other(&id.to_string(), 0);
        }
        assert_eq!(ends.other("0", 1), None);
        assert_eq!((ends.first.len(), ends.order.len()), (REMEMBERED, REMEMBERED));
    }
}
