//! The model against the kernel's numbers.

mod measured;
mod sockets;
mod tables;
