//! The live kernel: loads the programs, attaches them, reads what they write and what they count.

pub mod btf;
mod deltas;
pub mod facts;
pub mod layout;
mod load;
mod losses;
pub mod probes;
mod processes;
mod refusal;
pub mod ring;
mod shortage;
mod stats;
mod symbols;
mod walk;

pub use agent_common::count::Limits as StormLimits;
pub use deltas::Deltas;
pub use load::{KERNEL_BTF, LoadError, MAX_COUNTERS, Options, STORM_BURST, STORM_RATE, Survey, load, survey};
pub use losses::Loss;
pub use stats::Counters;
