//! No signal: what correlation sees between two.

use serde::{Deserialize, Serialize};

use super::Describe;
use crate::event::HostFacts;

/// The retransmission timer is quiet again: the peer acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// Consecutive timeouts that the stall had.
    pub stage: u8,
}

impl Describe for Recovered {
    fn text(&self, _host: &HostFacts) -> String {
        format!("acknowledged after {} timeouts", self.stage)
    }
}
