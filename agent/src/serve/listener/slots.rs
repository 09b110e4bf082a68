//! Slots at a listener: whoever asks for nothing cannot keep out who does.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// All of a listener.
#[derive(Debug)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    /// An answer ended.
    idle: Arc<Notify>,
    /// Oldest first.
    taken: VecDeque<Weak<Slot>>,
}

/// One connection's.
#[derive(Debug)]
pub(super) struct Slot {
    /// Somebody else needs it.
    pub(super) wanted: Notify,
    /// Requests whose answers are under way.
    answers: AtomicUsize,
    /// There was a request.
    asked: AtomicBool,
    idle: Arc<Notify>,
    _permit: OwnedSemaphorePermit,
}

/// While it lives, a request is answered.
#[derive(Debug)]
pub(super) struct Answer(Arc<Slot>);

/// A body with its [`Answer`]: hyper drops it when it is sent.
pub(super) struct Answering<B> {
    pub(super) body: B,
    pub(super) _answer: Answer,
}

impl Slots {
    pub(super) fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), idle: Arc::default(), taken: VecDeque::new() }
    }

    /// A free one. If there is none, the connection that came first of those that never asked for anything has
    /// to go, else of those that ask for nothing now; while all are answered, this waits.
    pub(super) async fn take(&mut self) -> Arc<Slot> {
        let permit = self.permit().await;
        let idle = Arc::clone(&self.idle);
        let slot = Slot {
            wanted: Notify::new(),
            answers: AtomicUsize::new(0),
            asked: AtomicBool::new(false),
            idle,
            _permit: permit,
        };
        let slot = Arc::new(slot);
        self.taken.retain(|taken| taken.strong_count() > 0);
        self.taken.push_back(Arc::downgrade(&slot));
        slot
    }

    async fn permit(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
                return permit;
            }
            self.make_room();
            tokio::select! {
                permit = Arc::clone(&self.free).acquire_owned() => return permit.expect("never closed"),
                () = self.idle.notified() => (),
            }
        }
    }

    fn make_room(&self) {
        let taken = || self.taken.iter().filter_map(Weak::upgrade);
        let never = taken().find(|slot| !slot.was_asked());
        let idle = || taken().find(|slot| slot.answers.load(Ordering::Relaxed) == 0);
        if let Some(slot) = never.or_else(idle) {
            slot.wanted.notify_one();
        }
    }
}

impl Slot {
    /// Whether a request came, answered or not.
    pub(super) fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Answer {
    pub(super) fn new(slot: &Arc<Slot>) -> Self {
        slot.asked.store(true, Ordering::Relaxed);
        slot.answers.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(slot))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.0.answers.fetch_sub(1, Ordering::Relaxed);
        self.0.idle.notify_one();
    }
}

impl<B: Body + Unpin> Body for Answering<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
