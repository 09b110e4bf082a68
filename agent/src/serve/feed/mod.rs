//! From one pipeline to any number of readers. Publishing never waits: a reader that falls behind loses
//! the oldest events and gets their number instead.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agent_correlate::observed::Observed;
use agent_diagnose::Diagnosed;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{self};

use self::recent::Recent;
use crate::schema::Gap;

mod recent;

/// Events a reader may lie behind, a power of two: some 40 ms of the worst storm that one core can
/// produce, and at most 4 MiB of events while anybody reads.
pub const CAPACITY: usize = 4096;

/// Where the pipeline publishes. Clones publish to the same readers.
#[derive(Clone, Debug)]
pub struct Feed {
    sender: broadcast::Sender<Published>,
    recent: Arc<Mutex<Recent>>,
    missed: Arc<AtomicU64>,
}

#[derive(Clone, Debug)]
enum Published {
    Event(Arc<Observed>),
    Diagnosis(Arc<Diagnosed>),
    Gap(Arc<Gap>),
}

/// One reader's place in the feed.
#[derive(Debug)]
pub struct Reader {
    backlog: VecDeque<FeedItem>,
    receiver: broadcast::Receiver<Published>,
    missed: Arc<AtomicU64>,
}

/// What a reader gets.
#[derive(Clone, Debug)]
pub enum FeedItem {
    /// The next event.
    Event(Arc<Observed>),
    /// The next diagnosis.
    Diagnosis(Arc<Diagnosed>),
    /// Events that have no line.
    Gap(Arc<Gap>),
    /// This many events came and went.
    Missed(u64),
}

impl Default for Feed {
    fn default() -> Self {
        Self::new(CAPACITY)
    }
}

impl Feed {
    /// A feed whose readers may lie `capacity` events behind.
    pub fn new(capacity: usize) -> Self {
        Self { sender: broadcast::Sender::new(capacity), recent: Arc::default(), missed: Arc::default() }
    }

    /// Hands an event to all readers there are. Never waits.
    pub fn publish(&self, observed: Arc<Observed>) {
        let mut recent = self.recent.lock();
        recent.event(&observed);
        // An error means that nobody reads.
        let _ = self.sender.send(Published::Event(observed));
    }

    /// Hands a diagnosis to all readers there are. Never waits.
    pub fn publish_diagnosis(&self, diagnosed: Arc<Diagnosed>) {
        let mut recent = self.recent.lock();
        recent.diagnosis(&diagnosed);
        // As above.
        let _ = self.sender.send(Published::Diagnosis(diagnosed));
    }

    /// Tells all readers there are of events that have no line. Never waits.
    pub fn publish_gap(&self, gap: Arc<Gap>) {
        // As above.
        let _ = self.sender.send(Published::Gap(gap));
    }

    /// A reader of everything published from now on.
    pub fn subscribe(&self) -> Reader {
        self.subscribe_from(None)
    }

    /// The same, but first of what is still remembered since then.
    pub fn subscribe_from(&self, since: Option<Timestamp>) -> Reader {
        // Nothing is published meanwhile: no event is sent twice or not at all.
        let recent = self.recent.lock();
        let backlog = since.map(|since| recent.since(since)).unwrap_or_default();
        Reader { backlog, receiver: self.sender.subscribe(), missed: Arc::clone(&self.missed) }
    }

    /// Readers at this moment.
    pub fn readers(&self) -> usize {
        self.sender.receiver_count()
    }

    /// Events that readers were too slow for, in all.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

impl Reader {
    /// Waits for the next event; `None` once every [`Feed`] is gone. Safe to cancel.
    pub async fn next(&mut self) -> Option<FeedItem> {
        if let Some(item) = self.backlog.pop_front() {
            return Some(item);
        }
        match self.receiver.recv().await {
            Ok(published) => Some(published.into()),
            Err(RecvError::Lagged(count)) => Some(self.note(count)),
            Err(RecvError::Closed) => None,
        }
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self) -> Option<FeedItem> {
        if let Some(item) = self.backlog.pop_front() {
            return Some(item);
        }
        match self.receiver.try_recv() {
            Ok(published) => Some(published.into()),
            Err(TryRecvError::Lagged(count)) => Some(self.note(count)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }

    fn note(&self, count: u64) -> FeedItem {
        self.missed.fetch_add(count, Ordering::Relaxed);
        FeedItem::Missed(count)
    }
}

impl From<Published> for FeedItem {
    fn from(published: Published) -> Self {
        match published {
            Published::Event(observed) => Self::Event(observed),
            Published::Diagnosis(diagnosed) => Self::Diagnosis(diagnosed),
            Published::Gap(gap) => Self::Gap(gap),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::sample;

    fn count(reader: &mut Reader) -> (usize, u64) {
        let (mut events, mut missed) = (0, 0);
        while let Some(item) = reader.try_next() {
            match item {
                FeedItem::Event(_) | FeedItem::Diagnosis(_) | FeedItem::Gap(_) => events += 1,
                FeedItem::Missed(count) => missed += count,
            }
        }
        (events, missed)
    }

    #[test]
    fn a_slow_reader_gets_the_number_it_missed() {
        let feed = Feed::new(8);
        let (mut slow, mut fast) = (feed.subscribe(), feed.subscribe());
        let mut seen = 0;
        for _ in 0..20 {
            feed.publish(Arc::new(sample::timeout()));
            seen += count(&mut fast).0;
        }
        assert_eq!(seen, 20);
        assert_eq!(count(&mut slow), (8, 12));
        assert_eq!(feed.missed(), 12);
    }

    #[test]
    fn a_late_reader_may_ask_for_what_was_before() {
        let feed = Feed::default();
        feed.publish(Arc::new(sample::timeout()));
        let (mut late, mut new) = (feed.subscribe_from(Some(Timestamp::UNIX_EPOCH)), feed.subscribe());
        feed.publish(Arc::new(sample::timeout()));
        assert_eq!((feed.readers(), count(&mut late), count(&mut new)), (2, (2, 0), (1, 0)));
    }

    #[tokio::test]
    async fn the_end_of_the_feed_is_seen() {
        let feed = Feed::default();
        let mut reader = feed.subscribe();
        feed.publish(Arc::new(sample::timeout()));
        drop(feed);
        assert!(matches!(reader.next().await, Some(FeedItem::Event(_))));
        assert!(reader.next().await.is_none());
    }
}
