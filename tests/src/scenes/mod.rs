//! Every event, caused for real: one function each. It ends when the kernel's own counters say that
//! it happened, and returns the truth to compare with.

pub mod accept_queue;
pub mod actors;
pub mod death;
pub mod dropped;
pub mod family;
pub mod forged;
pub mod memory;
pub mod origin;
pub mod request;
pub mod reset;
pub mod retransmit;
pub mod server;
