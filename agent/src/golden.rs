//! Texts that are kept in files. `TCPWHY_BLESS=1 cargo test -p agent --lib` writes them anew.

use std::path::Path;

/// Compares `text` with the file at `path`, from the workspace's root.
pub(crate) fn check(path: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    if std::env::var_os("TCPWHY_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "{} is out of date; TCPWHY_BLESS=1 writes it. New:\n{text}", path.display());
}
