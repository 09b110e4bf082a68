//! Storm control: what comes by the thousand is sent as samples that say how many they stand for, so that
//! one noisy workload blinds nobody, and nothing is read for a record that is not written.
//!
//! Buckets are each CPU's own: nothing is shared, and what they hold is exact.

use agent_common::count::{Bucket, CountKey, IDLE, KEPT, Limit, Limits, PORTS as SLOTS, Port, Row};
use agent_common::record::Header;
use aya_ebpf::helpers::bpf_ktime_get_ns;

use crate::emit;
use crate::kernel::volatile;
use crate::maps::PORTS;

/// Set by the daemon before load; frozen.
#[unsafe(no_mangle)]
pub static LIMITS: Limits = Limits::NONE;

/// Odd, with bits all over: 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// An event that was counted.
pub struct Counted {
    /// Under what.
    pub key: CountKey,
    /// Where; `None` for what is not counted, and then not limited.
    pub row: Option<&'static mut Row>,
}

/// An event that may be sent.
pub struct Permit {
    time: u64,
    signal: u16,
    stands_for: u32,
    bucket: Option<&'static mut Bucket>,
}

impl Permit {
    /// A record's header.
    #[inline(always)]
    pub fn header(&self, flags: u16) -> Header {
        Header { time: self.time, signal: self.signal, flags, stands_for: self.stands_for }
    }

    /// Of what.
    #[inline(always)]
    pub fn signal(&self) -> u16 {
        self.signal
    }

    /// The ring is full: the next record stands for these too.
    #[inline(always)]
    pub fn give_back(self) {
        if let Some(bucket) = self.bucket {
            bucket.waiting += u64::from(self.stands_for);
        }
    }

    /// For what is not limited.
    #[inline(always)]
    pub fn free(signal: u16) -> Self {
        Self { time: now(), signal, stands_for: 1, bucket: None }
    }
}

/// Leave to send the event, or `None` if its workload or port has sent enough; then it is counted as waiting.
#[inline(always)]
pub fn admit(counted: Counted, port: u16) -> Option<Permit> {
    let Counted { key, row } = counted;
    let Some(row) = row else { return Some(Permit::free(key.signal)) };
    let now = now();
    let (all, one) = (volatile(&LIMITS.workload), volatile(&LIMITS.port));
    let has_room = has_room(&row.bucket, &all, now);
    match slot(&key, port, now) {
        Some(slot) if !has_room || !self::has_room(&slot.bucket, &one, now) => {
            keep(&mut slot.bucket, now, key.signal)
        }
        Some(slot) => {
            pay(&mut row.bucket, &all, now);
            Some(permit(&mut slot.bucket, &one, now, key.signal))
        }
        None if !has_room => keep(&mut row.bucket, now, key.signal),
        None => Some(permit(&mut row.bucket, &all, now, key.signal)),
    }
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: no preconditions.
    unsafe { bpf_ktime_get_ns() }
}

/// The port's slot, unless another port uses it.
#[inline(always)]
fn slot(key: &CountKey, port: u16, now: u64) -> Option<&'static mut Port> {
    // SAFETY: a per-CPU value of an array map: present, aligned, and ours until the program ends.
    let slot = unsafe { &mut *PORTS.get_ptr_mut(index(key, port))? };
    if slot.port == port && is_same(&slot.key, key) {
        return Some(slot);
    }
    if now < slot.bucket.until.wrapping_add(KEPT) {
        return None;
    }
    *slot = Port { key: *key, port, reserved: [0; 6], bucket: Bucket { until: 0, left: 0, waiting: 0 } };
    Some(slot)
}

#[inline(always)]
fn index(key: &CountKey, port: u16) -> u32 {
    let small = u64::from(key.netns) << 32 | u64::from(key.signal ^ key.detail << 4) << 16 | u64::from(port);
    let mixed = (key.cgroup.wrapping_mul(SPREAD) ^ small).wrapping_mul(SPREAD);
    (mixed >> (64 - SLOTS.trailing_zeros())) as u32
}

/// Field by field: of a derived comparison LLVM may make a call.
#[inline(always)]
fn is_same(one: &CountKey, other: &CountKey) -> bool {
    one.cgroup == other.cgroup
        && one.netns == other.netns
        && one.signal == other.signal
        && one.detail == other.detail
}

#[inline(always)]
fn has_room(bucket: &Bucket, limit: &Limit, now: u64) -> bool {
    bucket.until <= now + limit.tolerance
}

#[inline(always)]
fn pay(bucket: &mut Bucket, limit: &Limit, now: u64) {
    let from = if bucket.until > now { bucket.until } else { now };
    bucket.until = from + limit.interval;
}

#[inline(always)]
fn keep(bucket: &mut Bucket, now: u64, signal: u16) -> Option<Permit> {
    bucket.waiting += 1;
    if bucket.until < now {
        bucket.until = now;
    }
    emit::note(signal, |health| health.coalesced += 1);
    None
}

/// A record takes along what waits, unless that is the daemon's to report by now.
#[inline(always)]
fn permit(bucket: &'static mut Bucket, limit: &Limit, now: u64, signal: u16) -> Permit {
    let waiting = bucket.waiting;
    bucket.waiting = 0;
    let mut stands_for = 1;
    if now > bucket.until.wrapping_add(IDLE) {
        bucket.left += waiting;
    } else {
        stands_for += waiting as u32;
    }
    pay(bucket, limit, now);
    Permit { time: now, signal, stands_for, bucket: Some(bucket) }
}
