//! Files of the project that are made from the code. `cargo xtask generate` makes them anew, the tests compare.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Names the folder that the task has them written to, each below it at its path from the project's root.
const FOLDER: &str = "TCPWHY_GENERATE";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Compares `text` with the file at `path`, from the project's root.
pub fn check(path: &str, text: &str) {
    if write(path, text.as_bytes()) {
        return;
    }
    let kept = fs::read_to_string(root().join(path)).unwrap_or_default();
    assert!(kept == text, "{path} is out of date: `cargo xtask generate` writes it. New:\n{text}");
}

/// Compares `text` with what stands in the file between the lines that have `BEGIN name` and `END name`.
pub fn check_part(path: &str, name: &str, text: &str) {
    let kept = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let whole = replaced(&kept, name, text);
    check(path, &whole.unwrap_or_else(|| panic!("{path} has no lines with `BEGIN {name}` and `END {name}`")));
}

/// Hands the file to `cargo xtask generate`; false if that is not who runs this.
pub fn write(path: &str, bytes: &[u8]) -> bool {
    let Some(folder) = env::var_os(FOLDER) else { return false };
    let file = Path::new(&folder).join(path);
    let parent = file.parent().expect("a file in the folder");
    fs::create_dir_all(parent).unwrap_or_else(|error| panic!("create {}: {error}", parent.display()));
    fs::write(&file, bytes).unwrap_or_else(|error| panic!("write {}: {error}", file.display()));
    true
}

fn replaced(kept: &str, name: &str, text: &str) -> Option<String> {
    let begin = kept.find(&format!("BEGIN {name}"))?;
    let begin = begin + kept[begin..].find('\n')? + 1;
    let end = begin + kept[begin..].find(&format!("END {name}"))?;
    let end = kept[..end].rfind('\n')? + 1;
    Some([&kept[..begin], text, &kept[end..]].concat())
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn a_part_is_replaced_between_its_marks() {
        let kept = "a\n# BEGIN x (by whom)\nold\n# END x\nb\n";
        let new = "a\n# BEGIN x (by whom)\nnew\nlines\n# END x\nb\n";
        assert_eq!(replaced(kept, "x", "new\nlines\n").as_deref(), Some(new));
        assert_eq!(replaced(kept, "y", ""), None);
    }
}
