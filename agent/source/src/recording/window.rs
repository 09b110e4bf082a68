//! A bounded look ahead into a stream of bytes.

use std::io::{self, Read};

/// Bytes asked of the input at a time.
const CHUNK: usize = 64 << 10;

/// What was read and not yet left behind.
#[derive(Debug)]
pub(super) struct Window<R> {
    input: R,
    bytes: Vec<u8>,
    start: usize,
    offset: u64,
}

impl<R: Read> Window<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, bytes: Vec::new(), start: 0, offset: 0 }
    }

    /// Where the window begins in the input.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// What is to be seen, without reading any further.
    pub(super) fn seen(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The next `len` bytes; fewer only where the input ends.
    pub(super) fn look(&mut self, len: usize) -> io::Result<&[u8]> {
        if self.seen().len() < len {
            self.bytes.drain(..self.start);
            self.start = 0;
            self.fill(len)?;
        }
        let end = len.min(self.seen().len());
        Ok(&self.seen()[..end])
    }

    fn fill(&mut self, len: usize) -> io::Result<()> {
        while self.bytes.len() < len {
            let want = CHUNK.max(len - self.bytes.len()) as u64;
            if self.input.by_ref().take(want).read_to_end(&mut self.bytes)? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Leaves `len` bytes behind, of those that were seen.
    pub(super) fn skip(&mut self, len: usize) {
        self.start += len;
        self.offset += len as u64;
    }
}
