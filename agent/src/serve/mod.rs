//! The servers: TCP for metrics and health, the unix socket for the query API, loopback for the page.

pub mod api;
mod desk;
pub mod feed;
mod http;
mod listener;
pub mod page;
mod room;
pub mod servers;
pub mod socket;
