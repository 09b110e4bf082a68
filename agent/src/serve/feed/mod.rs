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
    past: Arc<Mutex<Past>>,
    missed: Arc<AtomicU64>,
}

/// Of what was published.
#[derive(Debug, Default)]
struct Past {
    recent: Recent,
    diagnoses: u64,
}

#[derive(Clone, Debug)]
struct Published {
    what: What,
    /// Diagnoses published before it: whoever gets it knows how many it did not get.
    diagnoses: u64,
}

#[derive(Clone, Debug)]
enum What {
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
    /// Diagnoses published before its next item, so far as it got them all.
    diagnoses: u64,
    missed_diagnoses: u64,
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
        Self { sender: broadcast::Sender::new(capacity), past: Arc::default(), missed: Arc::default() }
    }

    /// Hands an event to all readers there are. Never waits.
    pub fn publish(&self, observed: Arc<Observed>) {
        let mut past = self.past.lock();
        past.recent.event(&observed);
        self.send(&past, What::Event(observed));
    }

    /// Hands a diagnosis to all readers there are. Never waits.
    pub fn publish_diagnosis(&self, diagnosed: Arc<Diagnosed>) {
        let mut past = self.past.lock();
        past.recent.diagnosis(&diagnosed);
        self.send(&past, What::Diagnosis(diagnosed));
        past.diagnoses += 1;
    }

    /// Tells all readers there are of events that have no line. Never waits.
    pub fn publish_gap(&self, gap: Arc<Gap>) {
        self.send(&self.past.lock(), What::Gap(gap));
    }

    fn send(&self, past: &Past, what: What) {
        // An error means that nobody reads.
        let _ = self.sender.send(Published { what, diagnoses: past.diagnoses });
    }

    /// A reader of everything published from now on.
    pub fn subscribe(&self) -> Reader {
        self.subscribe_from(None)
    }

    /// The same, but first of what is still remembered since then.
    pub fn subscribe_from(&self, since: Option<Timestamp>) -> Reader {
        // Nothing is published meanwhile: no event is sent twice or not at all.
        let past = self.past.lock();
        Reader {
            backlog: since.map(|since| past.recent.since(since)).unwrap_or_default(),
            receiver: self.sender.subscribe(),
            missed: Arc::clone(&self.missed),
            diagnoses: past.diagnoses,
            missed_diagnoses: 0,
        }
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
            Ok(published) => Some(self.take(published)),
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
            Ok(published) => Some(self.take(published)),
            Err(TryRecvError::Lagged(count)) => Some(self.note(count)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }

    /// Diagnoses among what it missed since this was asked last; known once it has what came after them.
    pub fn take_missed_diagnoses(&mut self) -> u64 {
        std::mem::take(&mut self.missed_diagnoses)
    }

    fn take(&mut self, published: Published) -> FeedItem {
        let Published { what, diagnoses } = published;
        self.missed_diagnoses += diagnoses - self.diagnoses;
        self.diagnoses = diagnoses + u64::from(matches!(what, What::Diagnosis(_)));
        what.into()
    }

    fn note(&self, count: u64) -> FeedItem {
        self.missed.fetch_add(count, Ordering::Relaxed);
        FeedItem::Missed(count)
    }
}

impl From<What> for FeedItem {
    fn from(what: What) -> Self {
        match what {
            What::Event(observed) => Self::Event(observed),
            What::Diagnosis(diagnosed) => Self::Diagnosis(diagnosed),
            What::Gap(gap) => Self::Gap(gap),
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
    fn a_slow_reader_knows_how_many_diagnoses_it_missed() {
        let feed = Feed::new(8);
        let diagnosed = Arc::new(sample::diagnosed());
        feed.publish_diagnosis(Arc::clone(&diagnosed));
        let mut slow = feed.subscribe();
        for _ in 0..20 {
            feed.publish_diagnosis(Arc::clone(&diagnosed));
            feed.publish(Arc::new(sample::timeout()));
        }
        assert_eq!((count(&mut slow), slow.take_missed_diagnoses()), ((8, 32), 16));
        for _ in 0..3 {
            feed.publish_diagnosis(Arc::clone(&diagnosed));
        }
        assert_eq!((count(&mut slow), slow.take_missed_diagnoses()), ((3, 0), 0));
        feed.publish_diagnosis(diagnosed);
        for _ in 0..8 {
            feed.publish(Arc::new(sample::timeout()));
        }
        assert_eq!((count(&mut slow), slow.take_missed_diagnoses()), ((8, 1), 1), "the last one as well");
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
