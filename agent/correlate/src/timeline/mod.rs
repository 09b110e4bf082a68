//! What happened to one connection, in order, in bounded space: the first entries and the last ones.

use std::fmt;

use agent_model::limits::{FIRST_ENTRIES, LAST_ENTRIES, LAST_ENTRIES_SHORT};

pub use agent_model::signals::What;

pub use self::entry::Entry;

mod entry;

/// How much room a timeline has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// As long as the user may want.
    Ample,
    /// All timelines together are near their bound.
    Scarce,
}

impl Room {
    const fn entries(self) -> usize {
        match self {
            Self::Ample => FIRST_ENTRIES + LAST_ENTRIES,
            Self::Scarce => FIRST_ENTRIES + LAST_ENTRIES_SHORT,
        }
    }
}

/// Bytes that a timeline grows by: two entries or three.
const CHUNK: usize = 48;

/// Bytes of the longest entry (`postcard`): ten numbers of at most ten.
const LONGEST: usize = 100;

/// Entries in order of time. Once full, what is neither among the first nor the last is dropped. Kept packed,
/// some 18 bytes an entry, since there may be half a million of these.
#[derive(Clone, Default)]
pub struct Timeline {
    packed: Vec<u8>,
    /// Where the last entry begins.
    last: u16,
    len: u8,
    dropped: u32,
}

const _: () = assert!(Room::Ample.entries() * LONGEST <= u16::MAX as usize);

impl Timeline {
    /// Adds an entry at the end. Returns by how many entries the timeline grew or shrank.
    pub(super) fn push(&mut self, entry: Entry, room: Room) -> isize {
        let before = self.len() as isize;
        match self.last().and_then(|last| last.joined_by(&entry)) {
            Some(run) => {
                self.packed.truncate(self.last.into());
                self.pack(&run);
            }
            None => self.append(&entry, room),
        }
        self.len() as isize - before
    }

    fn append(&mut self, entry: &Entry, room: Room) {
        let excess = (self.len() + 1).saturating_sub(room.entries());
        if excess > 0 {
            self.drop_middle(excess);
        }
        self.last = self.packed.len() as u16;
        self.len += 1;
        self.pack(entry);
    }

    fn drop_middle(&mut self, entries: usize) {
        let mut rest = Rest(&self.packed);
        rest.by_ref().take(FIRST_ENTRIES).for_each(drop);
        let from = self.packed.len() - rest.0.len();
        let events = rest.by_ref().take(entries).map(|entry| entry.count);
        self.dropped = events.fold(self.dropped, u32::saturating_add);
        let to = self.packed.len() - rest.0.len();
        self.packed.drain(from..to);
        self.len -= entries as u8;
    }

    fn pack(&mut self, entry: &Entry) {
        let mut space = [0; LONGEST];
        // It is long enough for any.
        let Ok(packed) = postcard::to_slice(entry, &mut space) else { return };
        if self.packed.len() + packed.len() > self.packed.capacity() {
            // Doubling would waste up to half of what counts most in memory.
            self.packed.reserve_exact(CHUNK.max(packed.len()));
        }
        self.packed.extend_from_slice(packed);
    }

    /// The entries; if [`Self::dropped`] is not 0, the gap is after the first [`FIRST_ENTRIES`].
    pub fn entries(&self) -> Vec<Entry> {
        self.iter().collect()
    }

    /// The same, each unpacked when its turn comes: for who looks for one.
    pub fn iter(&self) -> impl Iterator<Item = Entry> {
        Rest(&self.packed)
    }

    /// The last entry.
    pub fn last(&self) -> Option<Entry> {
        Rest(self.packed.get(usize::from(self.last)..)?).next()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len.into()
    }

    /// Nothing happened yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Events between the first entries and the last ones that are no longer here.
    pub fn dropped(&self) -> u32 {
        self.dropped
    }
}

impl fmt::Debug for Timeline {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

/// Packed entries that are still to be read.
struct Rest<'a>(&'a [u8]);

impl Iterator for Rest<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        // What was packed here unpacks; the end does not.
        let (entry, rest) = postcard::take_from_bytes(self.0).ok()?;
        self.0 = rest;
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use agent_model::event::RetransmitKind;
    use agent_model::signals::Recovered;
    use agent_model::signals::packet_dropped::{Dropped, Role};
    use agent_model::signals::retransmit::Resend;
    use proptest::prelude::*;

    use super::*;

    fn entry() -> impl Strategy<Value = Entry> {
        let what = prop_oneof![
            any::<(u8, i16, u16, u32)>().prop_map(|(stage, err, segments, rto)| {
                What::Retransmit(Resend { kind: RetransmitKind::Timeout, stage, err, segments, rto })
            }),
            any::<(u16, Option<u16>, Option<u32>, Option<u32>)>().prop_map(
                |(reason, place, netns, ifindex)| {
                    What::PacketDropped(Dropped { reason, place, netns, ifindex, role: Some(Role::Receiver) })
                }
            ),
            any::<u8>().prop_map(|stage| What::Recovered(Recovered { stage })),
        ];
        let numbers = any::<(u64, u32, u32, u32, u32, u32, Option<u32>)>();
        (numbers, what).prop_map(|((time, span_ms, count, unacked, unsent, unread, window), what)| Entry {
            time,
            span_ms,
            count,
            unacked,
            unsent,
            unread,
            window,
            what,
        })
    }

    proptest! {
        /// Packed or not, the same entries stay.
        #[test]
        fn the_first_and_the_last_stay(all in prop::collection::vec(entry(), 0..80)) {
            // Nothing that makes a run.
            let single = |one: Entry| Entry { what: What::Recovered(Recovered { stage: 1 }), ..one };
            let all: Vec<_> = all.into_iter().map(single).collect();
            let mut timeline = Timeline::default();
            for one in &all {
                timeline.push(*one, Room::Ample);
            }
            let gone = all.len().saturating_sub(Room::Ample.entries());
            let first = all.len().min(FIRST_ENTRIES);
            let kept: Vec<_> = all[..first].iter().chain(&all[first + gone..]).copied().collect();
            prop_assert_eq!(timeline.entries(), kept);
            prop_assert_eq!(timeline.last(), all.last().copied());
            prop_assert_eq!(timeline.len(), all.len() - gone);
        }

        #[test]
        fn an_entry_unpacks_to_itself(one in entry()) {
            let mut timeline = Timeline::default();
            timeline.push(one, Room::Scarce);
            prop_assert_eq!(timeline.entries(), [one]);
        }
    }
}
