//! The thread that the live agent runs on.

use std::io;
use std::thread;

use anyhow::Context as _;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::Live;

/// Reads the ring, walks over open files, correlates and judges, and waits for all of it; whoever is served runs on
/// other threads. Ends with this value.
#[derive(Debug)]
pub struct PipelineThread {
    stop: Option<oneshot::Sender<()>>,
    ended: Option<oneshot::Receiver<anyhow::Result<()>>>,
}

impl PipelineThread {
    /// Starts it. It has the rights of the thread that calls this.
    pub fn start(live: Live) -> io::Result<Self> {
        Self::spawn(|stopped| run(live, stopped))
    }

    /// Starts it with `work`, which is asked to stop.
    pub(crate) fn spawn(
        work: impl FnOnce(oneshot::Receiver<()>) -> anyhow::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        thread::Builder::new().name("pipeline".to_owned()).spawn(move || {
            // Whoever waits for the end may be gone.
            let _ = end.send(work(stopped));
        })?;
        Ok(Self { stop: Some(stop), ended: Some(ended) })
    }

    /// Waits for its end, which comes by itself only when it fails. Safe to cancel.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        let Some(ended) = &mut self.ended else { return Ok(()) };
        let result = ended.await.context("read the kernel's events");
        self.ended = None;
        result?
    }

    /// Has it read what is under way, hand it on and end.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stop = None;
        self.ended().await
    }
}

/// On a runtime of its own, so that the kernel wakes this thread and no other.
fn run(live: Live, stopped: oneshot::Receiver<()>) -> anyhow::Result<()> {
    let runtime =
        Builder::new_current_thread().enable_all().build().context("start the pipeline's runtime")?;
    // Whoever could ask to stop may be gone: that is the end, too.
    runtime.block_on(live.run(async { drop(stopped.await) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_asked_to_stop_and_tells_how_it_ended() {
        let thread = PipelineThread::spawn(|stopped| {
            assert_eq!(thread::current().name(), Some("pipeline"));
            assert!(stopped.blocking_recv().is_err(), "nothing is ever sent");
            anyhow::bail!("the ring is gone")
        });
        let error = thread.unwrap().stop().await.unwrap_err();
        assert_eq!(error.to_string(), "the ring is gone");
    }

    #[tokio::test]
    async fn its_own_end_is_reported_once() {
        let mut thread = PipelineThread::spawn(|_stopped| anyhow::bail!("the ring is gone")).unwrap();
        assert_eq!(thread.ended().await.unwrap_err().to_string(), "the ring is gone");
        thread.stop().await.unwrap();
    }
}
