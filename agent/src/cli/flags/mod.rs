//! Flags that several commands share.

pub mod attach;
pub mod filter;
pub mod names;
pub mod otlp;
pub mod paths;
pub mod place;
pub mod record_file;
pub mod since;
pub mod size;
pub mod style;
