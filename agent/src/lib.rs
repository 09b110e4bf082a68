//! tcpwhy: why did this TCP connection stall or die?
//!
//! The program: it joins the stages, each a crate of its own (`source`, `correlate`, `diagnose`, `advise`, all on
//! `model`), and hands out what comes of them. [`pipeline`] is what to read first.

pub mod answers;
pub mod cli;
pub mod filter;
#[doc(hidden)]
pub mod hostile;
pub mod live;
pub mod metrics;
pub mod otlp;
pub mod pipeline;
pub mod schema;
pub mod serve;
pub mod text;
