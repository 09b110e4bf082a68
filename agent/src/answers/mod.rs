//! What the query API answers from all that is remembered, and how a picture shows it.

pub mod top;
pub mod why;
