//! What the daemon found out about the running kernel, and how fields are loaded with it.

use agent_common::layout::{ABSENT, Bits, Kernel};

/// Set by the daemon before load; frozen, so the verifier knows every value.
#[unsafe(no_mangle)]
pub static KERNEL: Kernel = Kernel::ABSENT;

/// Reads one member of [`KERNEL`].
macro_rules! fact {
    ($($member:ident).+) => {
        $crate::kernel::volatile(&$crate::kernel::KERNEL.$($member).+)
    };
}

/// Loads the field `$name` of the structure at `$base`, or gives `$absent` if this kernel lacks it.
macro_rules! field {
    ($base:expr, $name:ident, $ty:ty) => {
        $crate::kernel::load::<$ty>($base, $crate::kernel::fact!(layout.$name))
    };
    ($base:expr, $name:ident, $ty:ty, else $absent:expr) => {{
        let offset = $crate::kernel::fact!(layout.$name);
        if offset == agent_common::layout::ABSENT {
            $absent
        } else {
            $crate::kernel::load::<$ty>($base, offset)
        }
    }};
}

/// Loads the bit field `$name` of the structure at `$base`; `$absent` if the kernel lacks it.
macro_rules! bits {
    ($base:expr, $name:ident, else $absent:expr) => {
        $crate::kernel::load_bits($base, $crate::kernel::fact!(layout.$name), $absent)
    };
}

pub(crate) use {bits, fact, field};

/// Reads a global so that the compiler cannot fold in the value of this object file: the loader replaces it.
#[inline(always)]
pub fn volatile<T: Copy>(global: &T) -> T {
    // SAFETY: a reference is valid to read.
    unsafe { core::ptr::read_volatile(global) }
}

/// Loads a `T` at `offset` bytes from `base`. Volatile: the kernel changes it under us.
///
/// Not `unsafe`, since the kernel proves what Rust cannot: a program with a load that its verifier
/// does not know to be that of a `T` inside a kernel structure is refused, and a stale or null pointer
/// among those reads 0 (`BPF_PROBE_MEM`).
#[inline(always)]
pub fn load<T: Copy>(base: *const u8, offset: u16) -> T {
    // SAFETY: proved by the verifier.
    unsafe { core::ptr::read_volatile(base.wrapping_add(offset as usize).cast()) }
}

/// Loads a bit field of at most 8 bits.
#[inline(always)]
pub fn load_bits(base: *const u8, bits: Bits, absent: u8) -> u8 {
    if bits.offset == ABSENT {
        return absent;
    }
    let byte: u8 = load(base, bits.offset);
    ((u32::from(byte) >> bits.shift) & ((1 << bits.width) - 1)) as u8
}
