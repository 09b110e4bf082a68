//! tcpwhy: why did this TCP connection stall or die?
//!
//! The modules are the stages an event passes, in order:
//! `source` (kernel or recording) -> `decode` -> `correlate` -> `diagnose` -> `export`.

pub mod advise;
pub mod cli;
pub mod connect;
pub mod correlate;
pub mod decode;
pub mod diagnose;
pub mod event;
pub mod export;
#[doc(hidden)]
pub mod hostile;
pub mod live;
pub mod pipeline;
pub mod source;

#[cfg(test)]
mod fixture;
