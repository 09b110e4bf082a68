//! Kernel stacks, which cost three microseconds each: several times all the rest of a record.

use agent_common::record::{NO_STACK, PLACES_FROM};
use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::{bpf_get_stackid, bpf_jiffies64};
use aya_ebpf::programs::BtfTracePointContext;
use aya_ebpf::programs::tracing::StackIdContext as _;

use crate::kernel::fact;
use crate::maps::{PLACES, STACKS};

/// Stacks walked at most in one of the kernel's ticks (1 to 10 ms). Resets come alone or by the thousand, and
/// then with few stacks: those of a storm that have none look like those that have one. Fewer where the kernel
/// gives a reason (6.10 and later), beside which the stack is a detail.
const PER_TICK: u32 = 8;
const PER_TICK_BESIDE_REASON: u32 = 2;

/// The walks of this tick. Races between CPUs cost a walk, nothing more.
struct Budget {
    tick: u64,
    walks: u32,
}

static mut RESETS: Budget = Budget { tick: 0, walks: 0 };
static mut DROPS: Budget = Budget { tick: 0, walks: 0 };
/// Of packets without a socket, of which floods consist: they leave those of connections theirs.
static mut STRAY_DROPS: Budget = Budget { tick: 0, walks: 0 };

/// The id of this stack, or [`NO_STACK`] if it can't be had, or too many were in this tick.
#[inline(always)]
pub fn walk(ctx: &BtfTracePointContext) -> i32 {
    let most = if fact!(reset_reason) == 0 { PER_TICK } else { PER_TICK_BESIDE_REASON };
    if !is_due(&raw mut RESETS, most) {
        return NO_STACK;
    }
    // A stack whose place in the map is another's has its own without the topmost frame, which is this
    // program's trampoline.
    get(ctx, 0).or_else(|| get(ctx, 1)).unwrap_or(NO_STACK)
}

#[inline(always)]
fn get(ctx: &BtfTracePointContext, skipped: u64) -> Option<i32> {
    // SAFETY: `ctx` is this program's context, `STACKS` a stack map.
    ctx.get_stackid(&STACKS, skipped).ok().map(|id| id as i32)
}

/// The id of this short stack, raised by [`PLACES_FROM`]; 0 if it can't be had, or too many were in this tick.
#[inline(always)]
pub fn place(ctx: &BtfTracePointContext, has_socket: bool) -> u32 {
    let budget = if has_socket { &raw mut DROPS } else { &raw mut STRAY_DROPS };
    if !is_due(budget, PER_TICK) {
        return 0;
    }
    // As in `walk`.
    let id = short(ctx, 0);
    let id = if id < 0 { short(ctx, 1) } else { id };
    u32::try_from(id).map_or(0, |id| id + PLACES_FROM)
}

#[inline(always)]
fn short(ctx: &BtfTracePointContext, skipped: u64) -> i64 {
    // SAFETY: `ctx` is this program's context, `PLACES` a stack map.
    unsafe { bpf_get_stackid(ctx.as_ptr(), PLACES.as_ptr(), skipped) }
}

#[inline(always)]
fn is_due(budget: *mut Budget, most: u32) -> bool {
    // SAFETY: accesses of one instruction to a global; the helper has no preconditions.
    unsafe {
        let now = bpf_jiffies64();
        let is_new = now != (&raw const (*budget).tick).read_volatile();
        let walks = if is_new { 0 } else { (&raw const (*budget).walks).read_volatile() };
        (&raw mut (*budget).tick).write_volatile(now);
        (&raw mut (*budget).walks).write_volatile(walks + 1);
        walks < most
    }
}
