//! Clearing and copying, word by word.
//!
//! Volatile on purpose: of anything else LLVM makes a call, even for three bytes, to a loop of seven
//! instructions a byte, which run at each event and are walked by the verifier on each path.

/// Clears a `T`.
///
/// # Safety
/// `to` is space for a `T`, of which all zeroes is a value.
#[inline(always)]
pub unsafe fn clear<T>(to: *mut T) {
    const { assert!(align_of::<T>() == 8) };
    let mut word = 0;
    while word < size_of::<T>() / 8 {
        // SAFETY: by the caller's promise.
        unsafe { to.cast::<u64>().add(word).write_volatile(0) };
        word += 1;
    }
}

/// Copies a `T`.
///
/// # Safety
/// `from` is a readable `T` and `to` space for one.
#[inline(always)]
pub unsafe fn copy<T>(to: *mut T, from: *const T) {
    const { assert!(align_of::<T>() == 8) };
    let mut word = 0;
    while word < size_of::<T>() / 8 {
        // SAFETY: by the caller's promise.
        unsafe { to.cast::<u64>().add(word).write_volatile(from.cast::<u64>().add(word).read_volatile()) };
        word += 1;
    }
}

/// Clears single bytes, for what is too short or lies too odd.
///
/// # Safety
/// `to` is space for `N` bytes.
#[inline(always)]
pub unsafe fn clear_bytes<const N: usize>(to: *mut [u8; N]) {
    let mut byte = 0;
    while byte < N {
        // SAFETY: by the caller's promise.
        unsafe { to.cast::<u8>().add(byte).write_volatile(0) };
        byte += 1;
    }
}
