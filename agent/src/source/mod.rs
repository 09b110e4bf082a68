//! Where the stream comes from: the live kernel (`ring`), or a recording.

pub mod frame;
