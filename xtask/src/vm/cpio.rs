//! An archive as the kernel unpacks it into its first file system: cpio's "newc"
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::io::Write as _;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// An archive being written.
#[derive(Default)]
pub struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
}

impl Cpio {
    /// Adds a folder; those above it must be there already.
    pub fn directory(&mut self, path: &str) {
        self.entry(path, DIRECTORY, b"");
    }

    /// Adds a file that may be run.
    pub fn program(&mut self, path: &str, content: &[u8]) {
        self.entry(path, PROGRAM, content);
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.entry(path, LINK, target.as_bytes());
    }

    /// The whole archive. Another may follow it.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, b"");
        self.bytes
    }

    /// Header of 110 characters, name and content, the last two filled up to four bytes each.
    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let (inode, size, name_size) = (self.entries, content.len(), path.len() + 1);
        // Inode, mode, user, group, links, time, size, device and device node twice two, name size, checksum.
        let fields = [inode, mode, 0, 0, 1, 0, size as u32, 0, 0, 0, 0, name_size as u32, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            write!(self.bytes, "{field:08x}").expect("a Vec takes everything");
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.fill();
        self.bytes.extend_from_slice(content);
        self.fill();
    }

    fn fill(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Cpio;

    #[test]
    fn entries_are_aligned_and_end_in_a_trailer() {
        let mut cpio = Cpio::default();
        cpio.directory("bin");
        cpio.program("bin/sh", b"#!/x\n");
        cpio.link("bin/ash", "sh");
        let bytes = cpio.finish();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(&bytes[..22], b"07070100000001000041ed");
        let starts: Vec<_> = bytes.windows(6).enumerate().filter(|(_, six)| six == b"070701").collect();
        assert_eq!(starts.len(), 4);
        assert!(starts.iter().all(|(at, _)| at % 4 == 0));
        assert!(bytes.windows(11).any(|name| name == b"TRAILER!!!\0"));
    }
}
