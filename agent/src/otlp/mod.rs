//! Diagnoses to a store of the operator's: OpenTelemetry log records over OTLP/HTTP
//! (<https://opentelemetry.io/docs/specs/otlp/>, binary protobuf). Off by default.
//!
//! The messages are the `opentelemetry-proto` crate's; they travel by the HTTP and TLS that are here already. The
//! `opentelemetry-otlp` exporter would bring a second HTTP client, a second queue and threads of its own.

mod client;
mod record;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use self::client::Answer;
pub use self::client::{Collector, OtlpError};
use crate::serve::feed::{FeedItem, Reader};

/// Diagnoses in the queue while the receiver is away: some megabytes.
const QUEUE: usize = 4096;
/// Records in one message: far below the 4 MiB that receivers take.
const BATCH: usize = 256;
/// A message waits this long for more records.
const GATHER: Duration = Duration::from_secs(1);
/// First pause after a failure, doubled up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// See [`FIRST_PAUSE`].
const LAST_PAUSE: Duration = Duration::from_mins(1);
/// At the end, what waits is sent for this long.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// What has become of the diagnoses; for the metrics.
#[derive(Debug, Default)]
pub struct Exported {
    sent: AtomicU64,
    missed: AtomicU64,
    full: AtomicU64,
    refused: AtomicU64,
    unsent: AtomicU64,
}

impl Exported {
    /// Counts so far, by outcome: `sent`; lost since more came than this could take (`missed`) or since the queue was
    /// `full`; `refused` by the receiver; `unsent` at the agent's end.
    pub fn outcomes(&self) -> [(&'static str, u64); 5] {
        let Self { sent, missed, full, refused, unsent } = self;
        [("sent", sent), ("missed", missed), ("full", full), ("refused", refused), ("unsent", unsent)]
            .map(|(word, count)| (word, count.load(Ordering::Relaxed)))
    }
}

/// The sender.
#[derive(Debug)]
pub struct Exporter {
    exported: Arc<Exported>,
    stop: oneshot::Sender<()>,
    sending: JoinHandle<()>,
}

impl Exporter {
    /// Sends every diagnosis that `reader` receives, from `host`, which is the node `node` of a cluster.
    pub fn start(collector: Collector, reader: Reader, host: &str, node: Option<&str>) -> Self {
        let exported = Arc::<Exported>::default();
        let (queue, queued) = mpsc::channel(QUEUE);
        let sender = Sending {
            collector,
            resource: record::resource(host, node),
            queued,
            exported: Arc::clone(&exported),
            complained: false,
        };
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(gather(reader, queue, Arc::clone(&exported), stopped));
        Self { exported, stop, sending: tokio::spawn(sender.run()) }
    }

    /// What has become of the diagnoses.
    pub fn exported(&self) -> Arc<Exported> {
        Arc::clone(&self.exported)
    }

    /// Once nothing is published any more: gives what waits a moment to be sent.
    pub async fn finish(self) {
        let Self { exported: _, stop, mut sending } = self;
        drop(stop);
        if timeout(LAST_WORDS, &mut sending).await.is_err() {
            sending.abort();
        }
    }
}

/// Never waits for the receiver.
async fn gather(
    mut reader: Reader,
    queue: Sender<LogRecord>,
    exported: Arc<Exported>,
    mut stopped: oneshot::Receiver<()>,
) {
    loop {
        // At the end what the feed still holds goes first.
        let item = tokio::select! {
            biased;
            item = reader.next() => item,
            _ = &mut stopped => return,
        };
        let Some(item) = item else { return };
        exported.missed.fetch_add(reader.take_missed_diagnoses(), Ordering::Relaxed);
        let FeedItem::Diagnosis(diagnosed) = item else { continue };
        match queue.try_send(record::record(&diagnosed, now())) {
            Ok(()) => (),
            Err(TrySendError::Full(_)) => _ = exported.full.fetch_add(1, Ordering::Relaxed),
            Err(TrySendError::Closed(_)) => return,
        }
    }
}

/// As the kernel has it; in a container that is the pod's name.
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

struct Sending {
    collector: Collector,
    resource: Resource,
    queued: Receiver<LogRecord>,
    exported: Arc<Exported>,
    /// The log has it that nothing is sent.
    complained: bool,
}

impl Sending {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while self.fill(&mut batch).await {
            let pending = Pending { exported: Arc::clone(&self.exported), count: batch.len() as u64 };
            self.send(std::mem::take(&mut batch)).await;
            pending.done();
        }
    }

    /// Waits for records, and a little for more; false at the end.
    async fn fill(&mut self, batch: &mut Vec<LogRecord>) -> bool {
        if self.queued.recv_many(batch, BATCH).await == 0 {
            return false;
        }
        let until = Instant::now() + GATHER;
        while batch.len() < BATCH {
            let more =
                tokio::time::timeout_at(until, self.queued.recv_many(batch, BATCH - batch.len())).await;
            if more.unwrap_or(0) == 0 {
                break;
            }
        }
        true
    }

    /// Tries until the receiver takes it or will never take it.
    async fn send(&mut self, batch: Vec<LogRecord>) {
        let count = batch.len() as u64;
        let request = record::request(&self.resource, batch);
        let mut pause = FIRST_PAUSE;
        loop {
            match self.collector.send(&request).await {
                Ok(Answer::Taken { rejected }) => {
                    self.recovered();
                    let rejected = rejected.min(count);
                    self.exported.sent.fetch_add(count - rejected, Ordering::Relaxed);
                    self.exported.refused.fetch_add(rejected, Ordering::Relaxed);
                    return;
                }
                Ok(Answer::Later(after)) => {
                    self.complain(&"it has no time now");
                    sleep(after.unwrap_or(pause).min(LAST_PAUSE)).await;
                }
                Err(OtlpError::Refused(status, text)) => {
                    self.complain(&format_args!("it answers {status}: {text}"));
                    self.exported.refused.fetch_add(count, Ordering::Relaxed);
                    return;
                }
                Err(error) => {
                    self.complain(&format_args!("{:#}", anyhow::Error::new(error)));
                    sleep(pause).await;
                }
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Once, until it works again.
    fn complain(&mut self, why: &dyn std::fmt::Display) {
        if !std::mem::replace(&mut self.complained, true) {
            log::warn!("no diagnoses to {}: {why}", self.collector.endpoint());
        }
    }

    fn recovered(&mut self) {
        if std::mem::take(&mut self.complained) {
            log::info!("diagnoses to {} again", self.collector.endpoint());
        }
    }
}

/// Records under way: unsent, if the end comes first.
struct Pending {
    exported: Arc<Exported>,
    count: u64,
}

impl Pending {
    fn done(mut self) {
        self.count = 0;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.exported.unsent.fetch_add(self.count, Ordering::Relaxed);
    }
}
