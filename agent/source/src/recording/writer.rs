//! Frames to a file.

use std::io::{self, Write};
use std::path::PathBuf;

use agent_model::frame::Frame;
use thiserror::Error;

use super::{BLOCK, MAX_BLOCK, block, header};

/// The file took no more, for example because the disk is full.
#[derive(Debug, Error)]
#[error("write {}", .path.display())]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// What became of the frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Written.
    pub frames: u64,
    /// Bytes they took in the file, header and heads included.
    pub bytes: u64,
    /// Not written: they came after an error, or were larger than a block can be.
    pub missed: u64,
}

/// Writes a recording. Whole blocks are handed over in one piece each, so no other buffer is needed.
///
/// An error is returned once; what comes after is counted as missed. All blocks written before remain
/// readable.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    path: PathBuf,
    raw: Vec<u8>,
    packed: Vec<u8>,
    pending: u32,
    summary: Summary,
    is_closed: bool,
}

impl<W: Write> Writer<W> {
    /// Starts a recording; `path` names it in errors.
    pub fn new(output: W, path: impl Into<PathBuf>) -> Result<Self, WriteError> {
        let mut writer = Self {
            output,
            path: path.into(),
            raw: Vec::with_capacity(BLOCK),
            packed: Vec::new(),
            pending: 0,
            summary: Summary::default(),
            is_closed: false,
        };
        writer.packed.extend_from_slice(&header::bytes());
        writer.hand_over(0)?;
        Ok(writer)
    }

    /// Takes frames. They reach the file when a block is full, or with [`Self::flush`].
    pub fn write(&mut self, frames: &[Frame]) -> Result<(), WriteError> {
        let mut result = Ok(());
        for frame in frames {
            result = result.and(self.write_one(frame));
        }
        result
    }

    fn write_one(&mut self, frame: &Frame) -> Result<(), WriteError> {
        if self.is_closed {
            self.summary.missed += 1;
            return Ok(());
        }
        let (kind, bytes) = block::parts(frame);
        let len = block::FRAME_HEAD + bytes.len();
        if len > MAX_BLOCK {
            self.summary.missed += 1;
            return Ok(());
        }
        if self.raw.len() + len > BLOCK
            && let Err(error) = self.flush()
        {
            self.summary.missed += 1;
            return Err(error);
        }
        block::put(&mut self.raw, kind, &bytes);
        self.pending += 1;
        Ok(())
    }

    /// Writes what has come since the last block. For whoever keeps the time: a recorder that is killed
    /// loses what was not flushed.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        if self.pending == 0 {
            return Ok(());
        }
        block::pack(&self.raw, self.summary.frames, self.pending, &mut self.packed);
        self.raw.clear();
        let frames = std::mem::take(&mut self.pending);
        self.hand_over(frames)
    }

    /// Writes the rest and the mark of the end. What comes after is counted as missed.
    pub fn finish(&mut self) -> Result<(), WriteError> {
        self.flush()?;
        if !self.is_closed {
            self.packed.clear();
            self.packed.extend_from_slice(&block::Head::end(self.summary.frames).bytes());
            self.hand_over(0)?;
        }
        self.is_closed = true;
        Ok(())
    }

    /// What became of the frames so far; those not flushed are in none of its numbers.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    fn hand_over(&mut self, frames: u32) -> Result<(), WriteError> {
        let written = self.output.write_all(&self.packed).and_then(|()| self.output.flush());
        if let Err(source) = written {
            self.is_closed = true;
            self.summary.missed += u64::from(frames);
            return Err(WriteError { path: self.path.clone(), source });
        }
        self.summary.frames += u64::from(frames);
        self.summary.bytes += self.packed.len() as u64;
        Ok(())
    }
}
