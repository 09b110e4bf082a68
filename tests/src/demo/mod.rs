//! The demo: one scene after the other, each with what happens and what to look for, and beneath it what the
//! agent says of it as it happens.

mod acts;
mod stage;

pub use acts::{ACTS, Act};
pub use stage::{Play, play};
