//! tcpwhy: why did this TCP connection stall or die?
//!
//! The modules are the stages an event passes, in order:
//! `source` (kernel or recording) -> `decode` -> `correlate` -> `diagnose` -> `export`.

pub mod correlate;
pub mod event;
pub mod source;
