//! The image's one layer: a compressed tar in which nothing depends on where and when it was made.

use std::io::{Result, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

/// A layer being written. Root owns all of it.
pub struct Layer {
    tar: Builder<Vec<u8>>,
    epoch: u64,
}

impl Layer {
    /// With everything dated `epoch`, in seconds since 1970.
    pub fn new(epoch: u64) -> Self {
        Self { tar: Builder::new(Vec::new()), epoch }
    }

    /// Adds a folder; those above it must be there already.
    pub fn folder(&mut self, path: &str) -> Result<()> {
        self.entry(&format!("{path}/"), EntryType::Directory, 0o755, b"")
    }

    /// Adds a file that may be run.
    pub fn program(&mut self, path: &str, content: &[u8]) -> Result<()> {
        self.entry(path, EntryType::Regular, 0o755, content)
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, content: &[u8]) -> Result<()> {
        self.entry(path, EntryType::Regular, 0o644, content)
    }

    /// The whole tar.
    pub fn finish(self) -> Result<Vec<u8>> {
        self.tar.into_inner()
    }

    fn entry(&mut self, path: &str, kind: EntryType, mode: u32, content: &[u8]) -> Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.epoch);
        header.set_size(content.len() as u64);
        self.tar.append_data(&mut header, path, content)
    }
}

/// Without a name and a time in the header.
pub fn compressed(tar: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let written = encoder.write_all(tar).and_then(|()| encoder.finish());
    written.expect("a Vec takes everything")
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn layer() -> Vec<u8> {
        let mut layer = Layer::new(86_400);
        layer.folder("usr").unwrap();
        layer.program("usr/x", b"x").unwrap();
        layer.file("usr/y", b"yy").unwrap();
        layer.finish().unwrap()
    }

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        assert_eq!(compressed(&layer()), compressed(&layer()));
    }

    #[test]
    fn entries_are_roots_and_dated() {
        let tar = layer();
        let mut archive = tar::Archive::new(&tar[..]);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            assert_eq!(header.mtime().unwrap(), 86_400);
            (entry.path().unwrap().display().to_string(), header.mode().unwrap(), content)
        });
        let wanted = [("usr/", 0o755, ""), ("usr/x", 0o755, "x"), ("usr/y", 0o644, "yy")];
        let wanted = wanted.map(|(path, mode, content)| (path.to_owned(), mode, content.to_owned()));
        assert_eq!(entries.collect::<Vec<_>>(), wanted);
    }
}
