//! Where the stream comes from: the live kernel (`kernel`), or a recording.

pub mod frame;
pub mod kernel;
pub mod recording;
