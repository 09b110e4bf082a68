//! Where the stream comes from: the live kernel (`kernel`) and host (`host`, and `names` of who is inside its
//! cgroups), or a recording.

pub mod blocking;
pub mod cgroups;
pub mod connect;
pub mod host;
pub mod kernel;
pub mod kubernetes;
pub mod names;
pub mod recording;
