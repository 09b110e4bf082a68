//! What every stage speaks of.
//!
//! Nothing here reads a clock, `/proc` or the kernel, and nothing knows a stage: sources make [`frame::Frame`]s,
//! [`decode`] makes [`event::Event`]s of them, and all that follows takes those.

pub mod cause;
pub mod counters;
pub mod decode;
pub mod drop_reasons;
pub mod drops;
pub mod escape;
pub mod event;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
pub mod frame;
#[cfg(test)]
mod generated;
#[cfg(any(test, feature = "fixture"))]
pub mod golden;
pub mod limits;
pub mod schema;
pub mod signals;
pub mod timers;
pub mod units;
pub mod words;
