//! Ties events to connections, connections to processes.

pub mod observed;
