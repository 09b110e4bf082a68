//! Exact counters, whatever the ring loses.

use agent_common::count::{Count, CountKey, OTHER_CGROUP};

use crate::emit;
use crate::maps::COUNTS;

/// Adds `add` to the counter of `key`, or, if the map is full, to the bucket of all other workloads.
#[inline(always)]
pub fn add(key: &CountKey, add: &Count) {
    if let Some(count) = COUNTS.get_ptr_mut(key) {
        bump(count, add);
    } else if COUNTS.insert(key, add, 0).is_err() {
        other(key, add);
    }
}

#[inline(always)]
fn other(key: &CountKey, add: &Count) {
    emit::note(key.signal, |health| health.lost_count += 1);
    let key = CountKey { cgroup: OTHER_CGROUP, netns: 0, signal: key.signal, detail: key.detail };
    // The daemon made this entry before any program ran.
    if let Some(count) = COUNTS.get_ptr_mut(key) {
        bump(count, add);
    }
}

#[inline(always)]
fn bump(count: *mut Count, add: &Count) {
    // SAFETY: a per-CPU map value: aligned and ours until the program ends.
    let count = unsafe { &mut *count };
    count.events += add.events;
    count.segments += add.segments;
    count.bytes += add.bytes;
}
