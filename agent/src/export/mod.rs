//! The way out: lines for people and programs, metrics, and the servers that hand them out.

pub mod api;
pub mod escape;
pub mod families;
pub mod feed;
pub mod filter;
pub mod flow;
#[cfg(test)]
pub(crate) mod golden;
mod http;
pub mod line;
mod listener;
pub mod metrics;
pub mod otlp;
pub mod page;
pub mod place;
pub mod query;
pub mod selector;
pub mod servers;
pub mod socket;
pub mod text;
pub mod top;
pub mod why;
pub mod words;
