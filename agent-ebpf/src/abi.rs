//! Puts the ABI's types into the object's BTF, so that a test can compare them with the daemon's.

use agent_common::count::{Count, CountKey, Forks, Health, Socket};
use agent_common::record::TcpRecord;

/// By value: behind a pointer the compiler leaves a type undescribed.
#[repr(C)]
pub struct Abi {
    record: TcpRecord,
    count_key: CountKey,
    count: Count,
    health: Health,
    socket: Socket,
    forks: Forks,
}

/// See [`Abi`]; 688 bytes that nobody reads.
#[unsafe(no_mangle)]
// SAFETY: integers only: all zeroes is a value.
pub static ABI: Abi = unsafe { core::mem::zeroed() };
