//! Writes a recording beside the reader of the kernel, which must never wait for a disk.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::{io, thread};

use agent_model::frame::Frame;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{Summary, WriteError, Writer};

/// Batches that may wait for the disk: 16 MiB of the largest that the ring gives.
const WAITING: usize = 16;

enum Order {
    Write(Vec<Frame>),
    Flush,
}

/// The way to the thread that writes. Dropped, it has the rest written, and the end marked.
#[derive(Debug)]
pub struct Recorder {
    orders: SyncSender<Order>,
    progress: Progress,
}

/// What became of a recording's frames so far.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Mutex<Summary>>);

/// What becomes of a recording, for who asked for it.
#[derive(Debug)]
pub struct Recording {
    progress: Progress,
    ended: Option<oneshot::Receiver<Result<(), WriteError>>>,
}

impl Recorder {
    /// Starts the thread.
    pub fn new<W: Write + Send + 'static>(writer: Writer<W>) -> io::Result<(Self, Recording)> {
        let (orders, received) = mpsc::sync_channel(WAITING);
        let (end, ended) = oneshot::channel();
        let progress = Progress(Arc::new(Mutex::new(writer.summary())));
        let shared = progress.clone();
        thread::Builder::new().name("recorder".to_owned()).spawn(move || {
            // Nobody may be left to hear it.
            let _ = end.send(write_all(writer, &received, &shared));
        })?;
        let recording = Recording { progress: progress.clone(), ended: Some(ended) };
        Ok((Self { orders, progress }, recording))
    }

    /// Takes frames without waiting. What finds no room is counted as missed.
    pub fn tap(&mut self, frames: Vec<Frame>) {
        let count = frames.len() as u64;
        if count > 0 && self.orders.try_send(Order::Write(frames)).is_err() {
            self.progress.0.lock().missed += count;
        }
    }

    /// Has written out what has come so far; without waiting, too.
    pub fn flush(&self) {
        // A full queue is flushed by what is in it; a dead thread has said why.
        let _ = self.orders.try_send(Order::Flush);
    }
}

impl Progress {
    /// At this moment.
    pub fn summary(&self) -> Summary {
        *self.0.lock()
    }
}

impl Recording {
    /// To be asked at any time.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Waits for the first failure, or, once the [`Recorder`] is dropped, until all is written. At once if
    /// that was reported already. Safe to cancel.
    pub async fn ended(&mut self) -> Result<(), WriteError> {
        let Some(ended) = &mut self.ended else { return Ok(()) };
        let result = ended.await.unwrap_or(Ok(()));
        self.ended = None;
        result
    }
}

fn write_all<W: Write>(
    mut writer: Writer<W>,
    orders: &mpsc::Receiver<Order>,
    progress: &Progress,
) -> Result<(), WriteError> {
    let mut written = writer.summary();
    let mut note = |writer: &Writer<W>| {
        let now = writer.summary();
        let mut progress = progress.0.lock();
        // The recorder counts what never came here.
        let missed = progress.missed + (now.missed - written.missed);
        *progress = Summary { missed, ..now };
        written = now;
    };
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
        Frame::Malformed("{}".into())
    }

    #[tokio::test]
    async fn all_that_was_taken_is_written_at_the_end() {
        let (mut recorder, mut recording) = Recorder::new(Writer::new(io::sink(), "test").unwrap()).unwrap();
        recorder.tap(vec![fact(), fact()]);
        recorder.flush();
        recorder.tap(vec![fact()]);
        drop(recorder);
        recording.ended().await.unwrap();
        assert_eq!(recording.progress().summary().frames, 3);
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
    async fn a_stuck_disk_delays_nobody_and_its_failure_is_reported() {
        let (release, stuck) = mpsc::channel();
        let writer = Writer::new(Stuck(stuck, false), "test").unwrap();
        let (mut recorder, mut recording) = Recorder::new(writer).unwrap();
        recorder.tap(vec![fact()]);
        recorder.flush();
        for _ in 0..10 * WAITING {
            recorder.tap(vec![fact(), fact()]);
        }
        assert!(recording.progress().summary().missed >= 2 * 9 * WAITING as u64 - 4);
        drop(release);
        let error = recording.ended().await.unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::StorageFull);
        assert_eq!(recording.progress().summary().frames, 0);
        recording.ended().await.unwrap();
    }
}
