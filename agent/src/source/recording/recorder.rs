//! Writes a recording beside the reader of the kernel, which must never wait for a disk.

use std::io::Write;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};

use tokio::sync::oneshot;

use super::{Summary, WriteError, Writer};
use crate::source::frame::Frame;

/// Batches that may wait for the disk: 16 MiB of the largest that the ring gives.
const WAITING: usize = 16;

enum Order {
    Write(Vec<Frame>),
    Flush,
}

/// The thread that writes, and the way to it.
#[derive(Debug)]
pub struct Recorder {
    orders: SyncSender<Order>,
    progress: Arc<Mutex<Summary>>,
    missed: u64,
    ended: Option<oneshot::Receiver<Result<(), WriteError>>>,
}

impl Recorder {
    /// Starts the thread.
    pub fn new<W: Write + Send + 'static>(writer: Writer<W>) -> io::Result<Self> {
        let (orders, received) = mpsc::sync_channel(WAITING);
        let (end, ended) = oneshot::channel();
        let progress = Arc::new(Mutex::new(writer.summary()));
        let shared = Arc::clone(&progress);
        thread::Builder::new().name("recorder".to_owned()).spawn(move || {
            // Nobody may be left to hear it.
            let _ = end.send(write_all(writer, &received, &shared));
        })?;
        Ok(Self { orders, progress, missed: 0, ended: Some(ended) })
    }

    /// Takes frames without waiting. What finds no room is counted as missed.
    pub fn tap(&mut self, frames: Vec<Frame>) {
        let count = frames.len() as u64;
        if count > 0 && self.orders.try_send(Order::Write(frames)).is_err() {
            self.missed += count;
        }
    }

    /// Has written out what has come so far; without waiting, too.
    pub fn flush(&self) {
        // A full queue is flushed by what is in it; a dead thread says why in `failed`.
        let _ = self.orders.try_send(Order::Flush);
    }

    /// What became of the frames so far.
    pub fn summary(&self) -> Summary {
        let written = *self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        Summary { missed: written.missed + self.missed, ..written }
    }

    /// Waits for the first failure; for ever without one.
    pub async fn failed(&mut self) -> WriteError {
        if let Some(ended) = &mut self.ended {
            let result = ended.await;
            self.ended = None;
            if let Ok(Err(error)) = result {
                return error;
            }
        }
        std::future::pending().await
    }

    /// Waits until all is written, and the end marked, or for the failure if it was not told yet.
    pub async fn finish(&mut self) -> Result<(), WriteError> {
        // The thread ends once nobody can give it orders any more.
        drop(std::mem::replace(&mut self.orders, mpsc::sync_channel(0).0));
        match self.ended.take() {
            Some(ended) => ended.await.unwrap_or(Ok(())),
            None => Ok(()),
        }
    }
}

fn write_all<W: Write>(
    mut writer: Writer<W>,
    orders: &mpsc::Receiver<Order>,
    progress: &Mutex<Summary>,
) -> Result<(), WriteError> {
    let note =
        |writer: &Writer<W>| *progress.lock().unwrap_or_else(PoisonError::into_inner) = writer.summary();
    let result = orders.iter().try_for_each(|order| {
        let result = match order {
            Order::Write(frames) => writer.write(&frames),
            Order::Flush => writer.flush(),
        };
        note(&writer);
        result
    });
    let result = result.and_then(|()| writer.finish());
    note(&writer);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact() -> Frame {
        Frame::Fact("{}".into())
    }

    #[tokio::test]
    async fn all_that_was_taken_is_written_at_the_end() {
        let mut recorder = Recorder::new(Writer::new(io::sink(), "test").unwrap()).unwrap();
        recorder.tap(vec![fact(), fact()]);
        recorder.flush();
        recorder.tap(vec![fact()]);
        recorder.finish().await.unwrap();
        assert_eq!(recorder.summary().frames, 3);
    }

    /// Takes a header, then no more until the other end is dropped, then never.
    struct Stuck(mpsc::Receiver<()>, bool);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.1, true) {
                let _ = self.0.recv();
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_stuck_disk_delays_nobody_and_its_failure_is_told() {
        let (release, stuck) = mpsc::channel();
        let mut recorder = Recorder::new(Writer::new(Stuck(stuck, false), "test").unwrap()).unwrap();
        recorder.tap(vec![fact()]);
        recorder.flush();
        for _ in 0..10 * WAITING {
            recorder.tap(vec![fact(), fact()]);
        }
        assert!(recorder.summary().missed >= 2 * 9 * WAITING as u64 - 4);
        drop(release);
        assert_eq!(recorder.failed().await.source.kind(), io::ErrorKind::StorageFull);
        assert_eq!(recorder.summary().frames, 0);
    }
}
