//! Tells the host's memory ahead of records that are judged by it.

use std::mem::offset_of;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_common::record::{NO_REASON, Record, ResetSent};
use agent_common::signal;

use super::ring::{read, signal_of};
use crate::event::{Fact, HostFacts};
use crate::source::frame::Frame;
use crate::source::host::HostMemory;

/// The host's memory is read for events at most this often.
const INTERVAL: Duration = Duration::from_secs(1);

/// What is told of the host's memory, and when it was.
#[derive(Debug)]
pub struct Shortage {
    memory: Arc<HostMemory>,
    /// Number of the reset reason `TCP_ABORT_ON_MEMORY`; [`NO_REASON`] on a kernel that gives none.
    abort_on_memory: i32,
    told: Option<Instant>,
    wanted: bool,
}

impl Shortage {
    pub fn new(memory: Arc<HostMemory>, host: &HostFacts) -> Self {
        let named = host.reset_reasons.iter().find(|(_, name)| &***name == "TCP_ABORT_ON_MEMORY");
        let abort_on_memory = named.map_or(NO_REASON, |(number, _)| *number);
        Self { memory, abort_on_memory, told: None, wanted: false }
    }

    /// Takes note of a record.
    pub fn see(&mut self, record: &[u8]) {
        self.wanted = self.wanted || self.is_judged_by_memory(record);
    }

    /// Memory was refused, or a reset may have been sent for want of it. Where the kernel gives no reasons,
    /// each reset on this side's initiative may.
    fn is_judged_by_memory(&self, record: &[u8]) -> bool {
        const DETAIL: usize = offset_of!(Record, detail);
        match signal_of(record) {
            Some(signal::BUF_LIMIT_EXCEEDED) => true,
            Some(signal::RESET_SENT) => {
                let reason = read::<4>(record, DETAIL + offset_of!(ResetSent, reason));
                let active = read::<1>(record, DETAIL + offset_of!(ResetSent, active));
                reason.map(i32::from_ne_bytes) == Some(self.abort_on_memory) && active == Some([1])
            }
            _ => false,
        }
    }

    /// What the records seen since need to be told first; nothing if it was told a moment ago.
    pub fn news(&mut self) -> Option<Frame> {
        let due = self.told.is_none_or(|last| last.elapsed() >= INTERVAL);
        let wanted = std::mem::take(&mut self.wanted);
        if wanted && due { self.tell() } else { None }
    }

    /// TCP's memory now. What cannot be read is not told.
    pub fn tell(&mut self) -> Option<Frame> {
        self.told = Some(Instant::now());
        let memory = self.memory.tcp().inspect_err(|error| log::debug!("read TCP's memory: {error}")).ok()?;
        Some(Frame::fact(&Fact::TcpMemory(memory)))
    }
}
