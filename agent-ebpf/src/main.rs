//! The kernel side: one program per hook, one record per event.
//!
//! A program counts the event (`count`), brings the socket's totals and owner up to date
//! (`socket`), asks whether it may be sent (`storm`), fills a record in place in the ring (`snapshot`) and
//! submits it (`emit`).
//! Each hook's file says which kernel function it sits in and what it does not see.
#![no_std]
#![no_main]
#![expect(clippy::inline_always, reason = "in a call the verifier forgets what it knows of a pointer")]
#![expect(clippy::needless_pass_by_value, reason = "aya's macros pass the context by value")]
#![expect(clippy::cast_ptr_alignment, reason = "addresses lie at multiples of 8 bytes in a record")]

mod abi;
mod count;
mod emit;
mod hooks;
mod kernel;
mod maps;
mod memory;
mod snapshot;
mod socket;
mod storm;
mod task;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: no program here can panic: the verifier would refuse the object's loop.
    unsafe { core::hint::unreachable_unchecked() }
}

/// Helpers such as `bpf_skc_to_tcp_sock` are only for programs under the GPL.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
