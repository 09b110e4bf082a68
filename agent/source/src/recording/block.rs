//! A batch of frames: its head, how it is compressed, how frames lie in it.

use std::borrow::Cow;

use agent_model::frame::Frame;
use bytes::{Buf as _, Bytes};

use super::{MAX_BLOCK, field};

/// Bytes of a head.
pub(super) const HEAD: usize = 40;

/// What a head starts with: where a reader that lost its way looks.
pub(super) const MARK: [u8; 8] = *b"\x89block\r\n";

/// Bytes before each frame: its kind and its length.
pub(super) const FRAME_HEAD: usize = 5;

const RECORD: u8 = 0;
const FACT: u8 = 1;

/// How a body is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    /// As it is: compression would not have made it smaller.
    Plain = 0,
    /// An LZ4 block.
    Lz4 = 1,
    /// No body: nothing follows in this recording.
    End = 2,
}

/// What precedes a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Frames of the blocks before.
    pub(super) first: u64,
    /// Frames of this one.
    pub(super) frames: u32,
    /// Bytes of the frames.
    pub(super) raw: u32,
    /// Bytes of the body.
    pub(super) stored: u32,
    /// How.
    pub(super) codec: Codec,
    /// Checksum of the body.
    pub(super) body_crc: u32,
}

impl Head {
    /// What marks the end after `frames` frames.
    pub(super) fn end(frames: u64) -> Self {
        Self { first: frames, frames: 0, raw: 0, stored: 0, codec: Codec::End, body_crc: 0 }
    }

    pub(super) fn bytes(&self) -> [u8; HEAD] {
        let Self { first, frames, raw, stored, codec, body_crc } = *self;
        let mut head = [0; HEAD];
        head[..8].copy_from_slice(&MARK);
        head[8..16].copy_from_slice(&first.to_le_bytes());
        for (at, value) in [(16, frames), (20, raw), (24, stored), (28, codec as u32), (32, body_crc)] {
            head[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
        }
        let crc = crc32fast::hash(&head[..36]);
        head[36..].copy_from_slice(&crc.to_le_bytes());
        head
    }

    /// Nothing, unless these are the bytes of a head that a writer can have written.
    pub(super) fn parse(bytes: &[u8; HEAD]) -> Option<Self> {
        let word = |at| u32::from_le_bytes(field(bytes, at));
        if bytes[..8] != MARK || crc32fast::hash(&bytes[..36]) != word(36) {
            return None;
        }
        let head = Self {
            first: u64::from_le_bytes(field(bytes, 8)),
            frames: word(16),
            raw: word(20),
            stored: word(24),
            codec: [Codec::Plain, Codec::Lz4, Codec::End].into_iter().find(|it| *it as u32 == word(28))?,
            body_crc: word(32),
        };
        head.is_sane().then_some(head)
    }

    fn is_sane(&self) -> bool {
        let fits = self.raw as usize <= MAX_BLOCK && self.first.checked_add(self.frames.into()).is_some();
        fits && match self.codec {
            Codec::Plain => self.stored == self.raw,
            Codec::Lz4 => self.stored < self.raw,
            Codec::End => (self.frames, self.raw, self.stored) == (0, 0, 0),
        }
    }

    /// The frames of the body that follows this head; nothing, unless they are what was written.
    pub(super) fn frames(&self, body: &[u8]) -> Option<Frames> {
        if crc32fast::hash(body) != self.body_crc {
            return None;
        }
        let raw = match self.codec {
            Codec::Plain | Codec::End => body.to_vec(),
            Codec::Lz4 => decompress(body, self.raw as usize)?,
        };
        let frames = Frames { rest: raw.into() };
        (frames.checked_len() == Some(self.frames)).then_some(frames)
    }
}

fn decompress(body: &[u8], raw: usize) -> Option<Vec<u8>> {
    let mut out = vec![0; raw];
    let len = lz4_flex::block::decompress_into(body, &mut out).ok()?;
    (len == raw).then_some(out)
}

/// What a block has of a frame: its kind, and its bytes.
pub(super) fn parts(frame: &Frame) -> (u8, Cow<'_, [u8]>) {
    let kind = match frame {
        Frame::Record(_) => RECORD,
        Frame::Fact(_) | Frame::Malformed(_) => FACT,
    };
    (kind, frame.recorded())
}

/// Appends a frame to the frames of a block.
pub(super) fn put(raw: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    raw.push(kind);
    raw.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    raw.extend_from_slice(bytes);
}

/// Writes a block of `frames` frames over `out`.
pub(super) fn pack(raw: &[u8], first: u64, frames: u32, out: &mut Vec<u8>) {
    out.clear();
    out.resize(HEAD + lz4_flex::block::get_maximum_output_size(raw.len()), 0);
    let packed = lz4_flex::block::compress_into(raw, &mut out[HEAD..]);
    let (codec, stored) = match packed {
        Ok(stored) if stored < raw.len() => (Codec::Lz4, stored),
        Ok(_) | Err(_) => (Codec::Plain, raw.len()),
    };
    if codec == Codec::Plain {
        out[HEAD..HEAD + raw.len()].copy_from_slice(raw);
    }
    out.truncate(HEAD + stored);
    let body_crc = crc32fast::hash(&out[HEAD..]);
    let head = Head { first, frames, raw: raw.len() as u32, stored: stored as u32, codec, body_crc };
    out[..HEAD].copy_from_slice(&head.bytes());
}

/// The frames of a block, not yet taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Frames {
    rest: Bytes,
}

impl Frames {
    /// How many; nothing, if any is not well formed.
    fn checked_len(&self) -> Option<u32> {
        let (mut rest, mut count) = (self.rest.clone(), 0);
        while !rest.is_empty() {
            take(&mut rest)?;
            count += 1;
        }
        Some(count)
    }
}

impl Iterator for Frames {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let (kind, bytes) = take(&mut self.rest)?;
        Some(if kind == RECORD { Frame::Record(bytes) } else { Frame::from_json(bytes) })
    }
}

/// The next frame's kind and bytes.
fn take(rest: &mut Bytes) -> Option<(u8, Bytes)> {
    let (kind, len) = (rest.try_get_u8().ok()?, rest.try_get_u32_le().ok()? as usize);
    let bytes = (len <= rest.len()).then(|| rest.split_to(len))?;
    matches!(kind, RECORD | FACT).then_some((kind, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_shrink_is_stored_as_it_is() {
        let mut raw = Vec::new();
        put(&mut raw, RECORD, b"\x01");
        let mut out = Vec::new();
        pack(&raw, 7, 1, &mut out);
        let head = Head::parse(&field(&out, 0)).unwrap();
        assert_eq!((head.codec, head.first, head.frames), (Codec::Plain, 7, 1));
        assert_eq!(head.frames(&out[HEAD..]).unwrap().checked_len(), Some(1));
    }

    #[test]
    fn no_head_asks_for_more_than_the_bound() {
        let large = Head { raw: MAX_BLOCK as u32 + 1, stored: 1, codec: Codec::Lz4, ..Head::end(0) };
        assert_eq!(Head::parse(&large.bytes()), None);
        let overflowing = Head { frames: 1, codec: Codec::Plain, ..Head::end(u64::MAX) };
        assert_eq!(Head::parse(&overflowing.bytes()), None);
    }

    #[test]
    fn a_body_that_lies_about_its_frames_is_refused() {
        let mut raw = Vec::new();
        (0..100).for_each(|_| put(&mut raw, FACT, b"{}"));
        let mut out = Vec::new();
        pack(&raw, 0, 99, &mut out);
        assert!(Head::parse(&field(&out, 0)).unwrap().frames(&out[HEAD..]).is_none());
    }
}
