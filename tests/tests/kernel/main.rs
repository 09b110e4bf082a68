//! The kernel side on the kernel that runs: does every program load, does each event come, and is what it
//! says true? Needs root. `cargo xtask vm` runs this on other kernels too.

mod costs;
mod drops;
mod memory;
mod owners;
mod probes;
mod processes;
mod resets;
mod retransmits;
mod running;
mod shortage;
mod snapshot;
mod watch;
