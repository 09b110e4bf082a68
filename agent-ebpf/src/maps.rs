//! The maps, all in one place: every one is made at load, used or not.

use core::cell::UnsafeCell;
use core::ffi::c_void;

use agent_common::count::{self, CountKey, Forks, Health, Port, Row, Socket};
use agent_common::record::TcpRecord;
use agent_common::signal;
use aya_ebpf::bindings::bpf_map_def;
use aya_ebpf::bindings::bpf_map_type::BPF_MAP_TYPE_STACK_TRACE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, PerCpuHashMap, RingBuf, StackTrace};

use crate::hooks::arrival::Arrived;

/// Records on their way to the daemon. Sized by the daemon (`--ring-size`).
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// The exact counters. Preallocated: 5.10 warns about allocation in tracing programs.
#[map]
pub static COUNTS: PerCpuHashMap<CountKey, Row> = PerCpuHashMap::with_max_entries(4096, 0);

/// How much each port may send.
#[map]
pub static PORTS: PerCpuArray<Port> = PerCpuArray::with_max_entries(count::PORTS, 0);

/// What was written and what was lost, one row a signal.
#[map]
pub static HEALTH: PerCpuArray<Health> = PerCpuArray::with_max_entries(signal::END as u32, 0);

/// Owner and totals of each socket seen, by its address. Not LRU: an eviction could not be counted.
#[map]
pub static SOCKETS: HashMap<u64, Socket> = HashMap::with_max_entries(65_536, 0);

/// Forks by parent, of the parents of process families. Per CPU, since the children of one parent end on all of
/// them at once. Not LRU, as above; a parent's entry goes with it, so only living parents take room.
#[map]
pub static FORKS: PerCpuHashMap<u32, Forks> = PerCpuHashMap::with_max_entries(2048, 0);

/// 1 where a process of `FORKS` has this slot: of most processes it is all that is looked at. Cleared by the
/// daemon.
#[map]
pub static WATCHED: Array<u8> = Array::with_max_entries(count::SLOTS, 0);

/// Kernel stacks of active resets.
#[map]
pub static STACKS: StackTrace = StackTrace::with_max_entries(1024, 0);

/// Kernel stacks of drops, cut off above the functions that tell the place.
#[unsafe(link_section = "maps")]
#[unsafe(export_name = "PLACES")]
pub static PLACES: ShortStacks = ShortStacks::new(2048);

/// Frames of a short stack: two or three of the tracing, two that free, and from the function that dropped up to
/// the one that tells the hook of netfilter (`__ip_queue_xmit`, `ip_rcv`).
const PLACE_FRAMES: usize = 14;

/// The packet of the RST that `tcp_reset` was last given.
#[map]
pub static ARRIVED: PerCpuArray<Arrived> = PerCpuArray::with_max_entries(1, 0);

/// Where the file iterator builds its record: too large for the stack, and the ring is not its way out.
#[map]
pub static SCRATCH: PerCpuArray<TcpRecord> = PerCpuArray::with_max_entries(1, 0);

/// A stack map with few frames a stack: what follows the functions of the network differs with whatever a softirq
/// interrupted, and each of these stacks would take a place of the map.
#[repr(transparent)]
pub struct ShortStacks(UnsafeCell<bpf_map_def>);

// SAFETY: the kernel alone uses it.
unsafe impl Sync for ShortStacks {}

impl ShortStacks {
    const fn new(max_entries: u32) -> Self {
        Self(UnsafeCell::new(bpf_map_def {
            type_: BPF_MAP_TYPE_STACK_TRACE,
            key_size: size_of::<u32>() as u32,
            value_size: size_of::<[u64; PLACE_FRAMES]>() as u32,
            max_entries,
            map_flags: 0,
            id: 0,
            pinning: 0,
        }))
    }

    /// For a helper.
    pub const fn as_ptr(&self) -> *mut c_void {
        self.0.get().cast()
    }
}
