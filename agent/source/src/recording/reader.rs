//! A file to frames.

use std::io::{self, Read};
use std::iter::FusedIterator;

use agent_common::record::Record;
use agent_model::frame::Frame;
use thiserror::Error;

use super::block::{self, Codec, Frames, HEAD, Head};
use super::header::{self, HeaderError};
use super::window::Window;

/// What is wrong with a recording. The frames that come before and after are right all the same.
#[derive(Debug, Error)]
pub enum Problem {
    /// No frame can be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The input failed. Nothing follows.
    #[error("read on at byte {offset}")]
    Read {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// Bytes that are no block. What follows is read.
    #[error("{bytes} damaged bytes at byte {offset}: {} frames lost", or_unknown(*frames))]
    Damaged {
        /// Where they start.
        offset: u64,
        /// How many.
        bytes: u64,
        /// Frames that were in them; `None` where no block follows that would show it.
        frames: Option<u64>,
    },
    /// Blocks are gone without a trace. What follows is read.
    #[error("{frames} frames are missing at byte {offset}")]
    Missing {
        /// Where they should be.
        offset: u64,
        /// How many.
        frames: u64,
    },
    /// A block that came before, or from another recording. It is left out; what follows is read.
    #[error("the block at byte {offset} is out of order: its {frames} frames are left out")]
    OutOfOrder {
        /// Where it starts.
        offset: u64,
        /// How many frames it has.
        frames: u64,
    },
    /// The file ends before its end: the recorder was killed, the disk was full, or the file was cut.
    #[error("ends at byte {offset} without the mark of its end: frames after that are lost")]
    Truncated {
        /// Where the last complete block ends.
        offset: u64,
    },
    /// Something follows the end. It is not read.
    #[error("bytes after the end of the recording, at byte {offset}")]
    Trailing {
        /// Where they start.
        offset: u64,
    },
}

fn or_unknown(frames: Option<u64>) -> String {
    frames.map_or("an unknown number of".to_owned(), |frames| frames.to_string())
}

/// Reads a recording. Memory is bounded by [`super::MAX_BLOCK`] whatever the input says.
#[derive(Debug)]
pub struct Reader<R> {
    window: Window<R>,
    frames: Frames,
    /// Frames of the blocks so far, lost ones included.
    expected: u64,
    /// Bytes that records of today have more than this file's.
    lacks: usize,
    is_done: bool,
}

impl<R: Read> Reader<R> {
    /// Reads and checks the header.
    pub fn new(input: R) -> Result<Self, Problem> {
        let mut window = Window::new(input);
        let lacks = header::check(look(&mut window, header::LEN)?)?;
        window.skip(header::LEN);
        Ok(Self { window, frames: Frames::default(), expected: 0, lacks, is_done: false })
    }

    fn next_block(&mut self) -> Result<(), Problem> {
        let offset = self.window.offset();
        let Ok(head) = look(&mut self.window, HEAD)?.try_into() else {
            return self.truncated();
        };
        match Head::parse(head) {
            Some(head) if head.first > self.expected => Err(self.missing(head.first)),
            Some(Head { codec: Codec::End, first, .. }) if first == self.expected => self.end(),
            Some(head) => self.body(&head),
            None => self.resync(offset),
        }
    }

    fn missing(&mut self, first: u64) -> Problem {
        let frames = first - self.expected;
        self.expected = first;
        Problem::Missing { offset: self.window.offset(), frames }
    }

    fn body(&mut self, head: &Head) -> Result<(), Problem> {
        let (offset, len) = (self.window.offset(), HEAD + head.stored as usize);
        let block = look(&mut self.window, len)?;
        if block.len() < len {
            return self.truncated();
        }
        let frames = u64::from(head.frames);
        let body = head.frames(&block[HEAD..]);
        self.window.skip(len);
        if head.first < self.expected {
            return Err(Problem::OutOfOrder { offset, frames });
        }
        self.expected += frames;
        self.frames = body.ok_or(Problem::Damaged { offset, bytes: len as u64, frames: Some(frames) })?;
        Ok(())
    }

    /// Goes to the next head, or to the end of the input.
    fn resync(&mut self, offset: u64) -> Result<(), Problem> {
        self.window.skip(1);
        let found = loop {
            let Some(distance) = find(self.window.seen()) else {
                if self.leave_behind()? {
                    continue;
                }
                break None;
            };
            self.window.skip(distance);
            match look(&mut self.window, HEAD)?.try_into().ok().and_then(Head::parse) {
                Some(head) if head.first >= self.expected => break Some(head),
                Some(_) | None => self.window.skip(1),
            }
        };
        let frames = found.map(|head| head.first - self.expected);
        self.expected += frames.unwrap_or(0);
        Err(Problem::Damaged { offset, bytes: self.window.offset() - offset, frames })
    }

    /// Leaves what was seen, but for the beginning of a mark that may be there. False at the end.
    fn leave_behind(&mut self) -> Result<bool, Problem> {
        let keep = self.window.seen().len().min(block::MARK.len() - 1);
        self.window.skip(self.window.seen().len() - keep);
        let more = look(&mut self.window, keep + 1)?.len() > keep;
        if !more {
            self.window.skip(keep);
        }
        Ok(more)
    }

    fn end(&mut self) -> Result<(), Problem> {
        self.window.skip(HEAD);
        self.is_done = true;
        match look(&mut self.window, 1)?.len() {
            0 => Ok(()),
            _ => Err(Problem::Trailing { offset: self.window.offset() }),
        }
    }

    fn truncated(&mut self) -> Result<(), Problem> {
        self.is_done = true;
        Err(Problem::Truncated { offset: self.window.offset() })
    }
}

fn look<R: Read>(window: &mut Window<R>, len: usize) -> Result<&[u8], Problem> {
    let offset = window.offset();
    window.look(len).map_err(|source| Problem::Read { offset, source })
}

/// A record as it is today: what was not told then is 0, at the end of the part of its signal.
fn widened(frame: Frame, lacks: usize) -> Frame {
    let at = size_of::<Record>() - lacks;
    if let Frame::Record(old) = &frame
        && lacks > 0
        && old.len() >= at
    {
        let (head, rest) = old.split_at(at);
        return Frame::Record([head, &[0; size_of::<Record>()][..lacks], rest].concat().into());
    }
    frame
}

/// Where a mark starts.
fn find(bytes: &[u8]) -> Option<usize> {
    bytes.windows(block::MARK.len()).position(|bytes| bytes == block::MARK)
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Frame, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(frame) = self.frames.next() {
                return Some(Ok(widened(frame, self.lacks)));
            }
            if self.is_done {
                return None;
            }
            if let Err(problem) = self.next_block() {
                self.is_done |= matches!(problem, Problem::Read { .. });
                return Some(Err(problem));
            }
        }
    }
}

impl<R: Read> FusedIterator for Reader<R> {}
