//! The commands, one file each.

pub mod advise;
pub mod agent;
pub mod check;
pub mod completions;
pub mod kubectl;
pub mod man;
pub mod record;
pub mod replay;
pub mod tail;
pub mod timeouts;
pub mod top;
pub mod why;
