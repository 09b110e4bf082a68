//! Lines of a stream that comes in pieces.

use std::io::Read;

use bytes::BytesMut;
use tokio_util::codec::{AnyDelimiterCodec, Decoder as _};

/// A line that long is none of ours.
pub(super) const LINE_BYTES: usize = 1 << 20;
/// Of a pipe that are read at once: as much as it holds.
const READ_BYTES: usize = 64 << 10;

/// A line of more than [`LINE_BYTES`].
#[derive(Debug)]
pub(super) struct TooLong;

/// Pieces on one side, lines on the other.
#[derive(Debug)]
pub(super) struct LineBuffer {
    codec: AnyDelimiterCodec,
    bytes: BytesMut,
}

impl LineBuffer {
    pub(super) fn new() -> Self {
        let codec = AnyDelimiterCodec::new_with_max_length(b"\n".to_vec(), Vec::new(), LINE_BYTES);
        Self { codec, bytes: BytesMut::new() }
    }

    /// The next piece.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
    }

    /// The next whole line, if there is one.
    pub(super) fn next(&mut self) -> Result<Option<String>, TooLong> {
        // Nothing is read here, so nothing else can fail.
        let line = self.codec.decode(&mut self.bytes).map_err(|_| TooLong)?;
        Ok(line.map(|line| String::from_utf8_lossy(&line).into_owned()))
    }
}

/// The lines of `source`, until it ends, cannot be read, or has one that is too long.
pub(super) fn lines(mut source: impl Read) -> impl Iterator<Item = String> {
    let (mut buffer, mut piece) = (LineBuffer::new(), vec![0; READ_BYTES]);
    std::iter::from_fn(move || {
        loop {
            if let Some(line) = buffer.next().ok()? {
                return Some(line);
            }
            match source.read(&mut piece) {
                Ok(0) => return None,
                Ok(length) => buffer.push(&piece[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => (),
                Err(_) => return None,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes a few at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
            let length = self.1.min(to.len());
            (&mut self.0).take(length as u64).read(to)
        }
    }

    #[test]
    fn however_it_comes_a_line_is_whole() {
        for at_once in [1, 3, 7, 100] {
            let read: Vec<_> = lines(Slow(b"one\n\nt\xc3\xa9\xff\nfour", at_once)).collect();
            assert_eq!(read, ["one", "", "t\u{e9}\u{fffd}"], "{at_once} bytes at once");
        }
    }

    #[test]
    fn a_line_may_be_long_but_not_endless() {
        let mut text = vec![b'x'; LINE_BYTES];
        text.push(b'\n');
        assert_eq!(lines(&*text).map(|line| line.len()).collect::<Vec<_>>(), [LINE_BYTES]);
        text.insert(0, b'x');
        assert_eq!(lines(&*text).count(), 0);
        let mut buffer = LineBuffer::new();
        buffer.push(&vec![b'x'; LINE_BYTES + 1]);
        assert!(matches!(buffer.next(), Err(TooLong)));
    }
}
