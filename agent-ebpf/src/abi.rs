//! Puts the ABI's types into the object's BTF, so that a test can compare them with the daemon's.

use agent_common::count::{CountKey, Forks, Health, Limits, Port, Row, Socket};
use agent_common::record::TcpRecord;

/// By value: behind a pointer the compiler leaves a type undescribed.
#[repr(C)]
pub struct Abi {
    record: TcpRecord,
    count_key: CountKey,
    row: Row,
    port: Port,
    limits: Limits,
    health: Health,
    socket: Socket,
    forks: Forks,
}

/// See [`Abi`]; nobody reads it.
#[unsafe(no_mangle)]
// SAFETY: integers only: all zeroes is a value.
pub static ABI: Abi = unsafe { core::mem::zeroed() };
