//! Where the stream comes from: the live kernel (`kernel`) and host (`host`), or a recording.

pub mod frame;
pub mod host;
pub mod kernel;
pub mod recording;
