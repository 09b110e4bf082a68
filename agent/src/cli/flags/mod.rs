//! Flags that several commands share.

pub mod attach;
pub mod filter;
pub mod look;
pub mod names;
pub mod otlp;
pub mod paths;
pub mod place;
pub mod since;
pub mod size;
pub mod tape;
