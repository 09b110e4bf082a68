//! What a file starts with.

use std::mem::size_of;

use agent_common::record::{Record, TcpRecord};
use thiserror::Error;

use super::field;

/// Bytes of the header, in every version of the format.
pub(super) const LEN: usize = 64;

/// No text file starts like this, and whoever turns `\n` into `\r\n` destroys it.
const MAGIC: [u8; 8] = *b"\x89tcpwhy\n";

/// Version of the format: of header, blocks and kinds of frames.
const VERSION: u16 = 1;

/// Fingerprint of the records: checksum of the names, places and sizes of all their fields. The test that
/// compares it with the object's BTF says which number is right after a change.
pub const ABI: u32 = 0x69f9_3654;

/// Fingerprint of the records as they were before a received RST's packet was seen: nothing is told of it there.
const ABI_WITHOUT_RST: u32 = 0x19bd_0368;

/// Fingerprint of the records whose detail had 32 bytes. The others are as they were, so such a recording is read.
const ABI_OF_32: u32 = 0x2cee_5eee;

/// Bytes that records have more since, at the end of their detail: 0 is "not told" there.
const MORE: usize = 16;

/// Where the agent's version is, NUL-padded.
const AGENT: std::ops::Range<usize> = 20..60;

/// Why a file is no recording that can be read here.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum HeaderError {
    /// Something else.
    #[error("not a recording of tcpwhy")]
    Magic,
    /// It ends within the header.
    #[error("ends after {0} bytes, before its first block")]
    Short(usize),
    /// The header's checksum is wrong.
    #[error("damaged header: how its records are laid out is not known")]
    Damaged,
    /// A newer format.
    #[error(
        "format version {version}, written by tcpwhy {agent}: newer than this one, which reads {VERSION}"
    )]
    Version {
        /// The file's.
        version: u16,
        /// Version of the agent that wrote it.
        agent: String,
    },
    /// Made by an agent whose kernel side wrote other records.
    #[error("written by tcpwhy {agent}, whose records this version does not know: replay it with that one")]
    Abi {
        /// Version of the agent that wrote it.
        agent: String,
    },
    /// From a machine of the other byte order.
    #[error("recorded on a machine of the other byte order")]
    ByteOrder,
}

/// The header that this agent writes.
pub(super) fn bytes() -> [u8; LEN] {
    let mut header = [0; LEN];
    header[..8].copy_from_slice(&MAGIC);
    header[8..10].copy_from_slice(&VERSION.to_le_bytes());
    header[10..12].copy_from_slice(&(size_of::<Record>() as u16).to_le_bytes());
    header[12..14].copy_from_slice(&(size_of::<TcpRecord>() as u16).to_le_bytes());
    header[14..16].copy_from_slice(&BYTE_ORDER.to_le_bytes());
    header[16..20].copy_from_slice(&ABI.to_le_bytes());
    let agent = env!("CARGO_PKG_VERSION").as_bytes();
    header[AGENT][..agent.len()].copy_from_slice(agent);
    let crc = crc32fast::hash(&header[..60]);
    header[60..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Of the records' fields: 1 little, 2 big endian.
const BYTE_ORDER: u16 = if cfg!(target_endian = "little") { 1 } else { 2 };

/// How many bytes the records of a file with this header lack, if they can be read.
pub(super) fn check(header: &[u8]) -> Result<usize, HeaderError> {
    if !header.starts_with(&MAGIC[..header.len().min(MAGIC.len())]) {
        return Err(HeaderError::Magic);
    }
    if header.len() < LEN {
        return Err(HeaderError::Short(header.len()));
    }
    if crc32fast::hash(&header[..60]) != u32::from_le_bytes(field(header, 60)) {
        return Err(HeaderError::Damaged);
    }
    check_version(header)
}

fn check_version(header: &[u8]) -> Result<usize, HeaderError> {
    let (version, ours) = (u16::from_le_bytes(field(header, 8)), bytes());
    if version != VERSION {
        return Err(HeaderError::Version { version, agent: agent(header) });
    }
    if header[14..16] != ours[14..16] {
        return Err(HeaderError::ByteOrder);
    }
    let [record, tcp] = [size_of::<Record>(), size_of::<TcpRecord>()];
    let known = [(0, ABI), (0, ABI_WITHOUT_RST), (MORE, ABI_OF_32)];
    let lacks = known.into_iter().find(|(less, abi)| {
        let sizes = [record, tcp].map(|size| ((size - less) as u16).to_le_bytes()).concat();
        header[10..14] == sizes && header[16..20] == abi.to_le_bytes()
    });
    lacks.map(|(less, _)| less).ok_or_else(|| HeaderError::Abi { agent: agent(header) })
}

/// The version of the agent that wrote it, fit for a terminal.
fn agent(header: &[u8]) -> String {
    let text = header[AGENT].iter().take_while(|&&byte| byte != 0);
    text.map(|&byte| if byte.is_ascii_graphic() { char::from(byte) } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(at: usize, value: u8) -> Result<usize, HeaderError> {
        let mut header = bytes();
        header[at] = value;
        let crc = crc32fast::hash(&header[..60]);
        header[60..].copy_from_slice(&crc.to_le_bytes());
        check(&header)
    }

    #[test]
    fn says_why_it_does_not_fit() {
        let agent = env!("CARGO_PKG_VERSION").to_owned();
        assert_eq!(check(&bytes()), Ok(0));
        assert_eq!(changed(8, 9), Err(HeaderError::Version { version: 9, agent: agent.clone() }));
        assert_eq!(changed(16, !ABI.to_le_bytes()[0]), Err(HeaderError::Abi { agent: agent.clone() }));
        assert_eq!(changed(10, 1), Err(HeaderError::Abi { agent }));
        assert_eq!(changed(14, 3 - BYTE_ORDER as u8), Err(HeaderError::ByteOrder));
        assert_eq!(changed(0, b'#'), Err(HeaderError::Magic));
    }

    #[test]
    fn a_foreign_version_is_fit_for_a_terminal() {
        let mut header = bytes();
        header[8] = 2;
        header[20..24].copy_from_slice(b"\x1b[2J");
        assert!(agent(&header).starts_with("?[2J"));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        for bit in 0..LEN * 8 {
            let mut header = bytes();
            header[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&header).is_err(), "bit {bit}");
        }
        for len in 0..LEN {
            assert_eq!(check(&bytes()[..len]), Err(HeaderError::Short(len)));
        }
    }
}
