//! The way out: lines for people and programs, metrics, and the servers that hand them out.

pub mod escape;
pub mod feed;
pub mod filter;
#[cfg(test)]
mod golden;
pub mod line;
pub mod metrics;
pub mod text;
pub mod words;
