//! Walks over open files that somebody asks for, beside those that the pipeline wants by itself.

use std::time::Duration;

use agent_source::kernel::facts;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// Who asks waits so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where those who ask and the one who walks meet.
#[derive(Debug)]
pub(super) struct Walks {
    asked: Notify,
    /// When the last one began, ns of `CLOCK_MONOTONIC`.
    began: watch::Sender<u64>,
}

impl Walks {
    pub(super) fn new() -> Self {
        Self { asked: Notify::new(), began: watch::Sender::new(0) }
    }

    /// Asks for a walk, unless the last one is not older than `age`.
    pub(super) fn ask(&self, age: Duration) {
        let oldest = facts::monotonic().unwrap_or(0).saturating_sub(age.as_nanos() as u64);
        if *self.began.borrow() < oldest {
            self.asked.notify_one();
        }
    }

    /// Waits for a walk that is not older than `age`. Without one soon there is none to come.
    pub(super) async fn wait(&self, age: Duration) {
        let Ok(now) = facts::monotonic() else { return };
        let oldest = now.saturating_sub(age.as_nanos() as u64);
        let mut began = self.began.subscribe();
        self.ask(age);
        let _ = timeout(PATIENCE, began.wait_for(|began| *began >= oldest)).await;
    }

    /// Waits until somebody asks. Cancel safe.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// A walk that began then is over.
    pub(super) fn done(&self, began: u64) {
        self.began.send_replace(began);
    }
}
