//! Exact counters, whatever the ring loses.

use agent_common::count::{Bucket, Count, CountKey, OTHER_CGROUP, Row};

use crate::emit;
use crate::maps::COUNTS;

/// Adds `add` to the counter of `key`, or, if the map is full, to the bucket of all other workloads. Returns
/// where it was counted; `None` only of a key that the daemon left out of its reserve.
#[inline(always)]
pub fn add(key: &CountKey, add: &Count) -> Option<&'static mut Row> {
    if let Some(row) = find(key) {
        bump(&mut row.count, add);
        return Some(row);
    }
    if COUNTS.insert(key, Row { count: *add, bucket: EMPTY }, 0).is_err() {
        return other(key, add);
    }
    find(key)
}

const EMPTY: Bucket = Bucket { until: 0, left: 0, waiting: 0 };

#[inline(always)]
fn find(key: &CountKey) -> Option<&'static mut Row> {
    // SAFETY: a per-CPU map value: aligned, never removed, and ours until the program ends.
    COUNTS.get_ptr_mut(key).map(|row| unsafe { &mut *row })
}

#[inline(always)]
fn other(key: &CountKey, add: &Count) -> Option<&'static mut Row> {
    emit::note(key.signal, |health| health.lost_count += 1);
    let key = CountKey { cgroup: OTHER_CGROUP, netns: 0, signal: key.signal, detail: key.detail };
    // The daemon made this entry before any program ran.
    let row = find(&key)?;
    bump(&mut row.count, add);
    Some(row)
}

#[inline(always)]
fn bump(count: &mut Count, add: &Count) {
    count.events += add.events;
    count.segments += add.segments;
    count.bytes += add.bytes;
}
