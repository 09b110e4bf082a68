//! What the allocator makes of memory that comes and goes: with glibc as it is by default, the tables of one walk
//! or one storm stay with the agent for good.

/// Bytes from which a block is mapped on its own (`M_MMAP_THRESHOLD`), and given back when it is free.
#[cfg(target_env = "gnu")]
const LARGE: i32 = 128 << 10;

/// Keeps large blocks apart. By default glibc raises that bound with the first large block that is freed, up to
/// 32 MiB; what is cut out of the heap then is held by whatever small comes to lie behind it.
pub(super) fn keep_large_apart() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets one number of the allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// Gives free pages back to the kernel, those between blocks in use too (`malloc_trim`).
pub(super) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the allocator's own business, under its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
