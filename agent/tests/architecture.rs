//! docs/architecture.md and its neighbours, compared with the repository.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The crates and those of ours that each may use, in the order in which an event meets them: only earlier ones.
const CRATES: &[(&str, &[&str])] = &[
    ("agent-common", &[]),
    ("agent-ebpf", &["agent-common"]),
    ("agent/model", &["agent-common"]),
    // Its build script compiles the kernel side.
    ("agent/source", &["agent-common", "agent/model", "agent-ebpf"]),
    ("agent/correlate", &["agent-common", "agent/model"]),
    ("agent/diagnose", &["agent-common", "agent/model", "agent/correlate"]),
    ("agent/advise", &["agent-common", "agent/model", "agent/correlate", "agent/diagnose"]),
    (
        "agent",
        &["agent-common", "agent/model", "agent/source", "agent/correlate", "agent/diagnose", "agent/advise"],
    ),
];

/// Their code reads nothing but what it is given.
const PURE: [&str; 4] = ["agent/model", "agent/correlate", "agent/diagnose", "agent/advise"];

/// What reads a clock, a file, the environment or the network.
const READERS: [&str; 12] = [
    "std::env",
    "std::fs",
    "std::io",
    "std::process",
    "std::thread",
    "Instant",
    "SystemTime",
    "TcpStream",
    "UnixStream",
    "UdpSocket",
    "clock_gettime",
    "tokio",
];

/// Folders at the top, with which a path in a document begins.
const FOLDERS: [&str; 6] = ["agent", "agent-common", "agent-ebpf", "deploy", "tests", "xtask"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Pages that say where things are.
fn documents() -> Vec<(String, String)> {
    let pages = files(&root().join("docs"), "md").into_iter();
    let top = ["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root().join(name));
    let read = |path: PathBuf| (path.display().to_string(), fs::read_to_string(path).unwrap());
    pages.chain(top).map(read).collect()
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|its| its == extension) {
            found.push(path);
        }
    }
    found
}

/// What stands between backticks, and what follows it.
fn quoted(page: &str) -> Vec<(&str, &str)> {
    let mut quoted = Vec::new();
    for paragraph in page.split("\n\n") {
        let mut rest = paragraph;
        while let Some((_, after)) = rest.split_once('`')
            && let Some((word, after)) = after.split_once('`')
        {
            quoted.push((word, after));
            rest = after;
        }
    }
    quoted
}

fn is_path(word: &str) -> bool {
    word.split_once('/').is_some_and(|(folder, rest)| FOLDERS.contains(&folder) && !rest.contains(' '))
}

#[test]
fn paths_in_documents_exist() {
    let mut count = 0;
    for (document, page) in documents() {
        for (path, _) in quoted(&page).into_iter().filter(|(word, _)| is_path(word)) {
            assert!(root().join(path).exists(), "{document} names {path}, which does not exist");
            count += 1;
        }
    }
    assert!(count > 100, "only {count} paths found");
}

/// A test is named before its file: `` `name` (`path`) `` or `` `name`, `other` (`path`) ``.
#[test]
fn tests_in_documents_exist() {
    let mut count = 0;
    for (document, page) in documents() {
        let mut names = Vec::new();
        for (word, after) in quoted(&page) {
            if is_path(word) && Path::new(word).extension().is_some_and(|extension| extension == "rs") {
                let code = read(word);
                for name in names.drain(..) {
                    let is_there = code.contains(&format!("fn {name}("));
                    assert!(is_there, "{document}: there is no test {name} in {word}");
                    count += 1;
                }
            } else if is_name_of_test(word) && leads_to_a_file(after) {
                names.push(word);
            } else {
                names.clear();
            }
        }
    }
    assert!(count > 40, "only {count} tests found");
}

fn is_name_of_test(word: &str) -> bool {
    word.contains('_')
        && word.chars().all(|letter| letter.is_ascii_lowercase() || "_0123456789".contains(letter))
}

/// Between a test's name and the next word in backticks there is a bracket, or a list of names goes on.
fn leads_to_a_file(after: &str) -> bool {
    let Some((between, _)) = after.split_once('`') else { return false };
    matches!(between.trim(), "(" | "," | "and")
}

#[test]
fn citations_of_the_kernels_facts_name_a_heading() {
    let headings: BTreeSet<_> = read("docs/kernel.md")
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|heading| format!("\"{heading}\""))
        .collect();
    let folders = ["agent", "agent-common", "agent-ebpf", "tests", "xtask"].map(|folder| root().join(folder));
    let mut count = 0;
    for file in folders.iter().flat_map(|folder| files(folder, "rs")) {
        for cited in citations(&fs::read_to_string(&file).unwrap()) {
            let is_there = headings.iter().any(|heading| cited.contains(heading.as_str()));
            assert!(is_there, "{}: {cited} is no heading of docs/kernel.md", file.display());
            count += 1;
        }
    }
    assert!(count >= 6, "only {count} citations found");
}

/// What follows each mention of the page, without the marks of comments.
fn citations(code: &str) -> Vec<String> {
    let mentions = code.match_indices(concat!("docs/", "kernel.md, "));
    mentions
        .map(|(at, _)| {
            let lines =
                code[at..].lines().take(3).map(|line| line.trim().trim_start_matches(['/', '!']).trim());
            lines.collect::<Vec<_>>().join(" ")
        })
        .collect()
}

#[test]
fn each_crate_depends_on_earlier_ones_only() {
    for (place, (name, uses)) in CRATES.iter().enumerate() {
        let earlier: Vec<_> = CRATES[..place].iter().map(|(name, _)| *name).collect();
        assert!(uses.iter().all(|used| earlier.contains(used)), "{name} uses a later crate");
        let allowed: BTreeSet<_> = uses.iter().map(|used| used.replace('/', "-")).collect();
        assert_eq!(ours(&read(&format!("{name}/Cargo.toml"))), allowed, "{name}");
    }
}

/// Our own crates among the dependencies that a crate is built with; those of its tests may be any.
fn ours(manifest: &str) -> BTreeSet<String> {
    let mut counts = false;
    let mut found = BTreeSet::new();
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            counts = matches!(section, "dependencies]" | "build-dependencies]");
        }
        let name = line.split([' ', '.', '=']).next().unwrap_or_default();
        if counts && (name == "agent" || name.starts_with("agent-")) {
            found.insert(name.to_owned());
        }
    }
    found
}

#[test]
fn stages_after_the_source_are_pure() {
    let mut count = 0;
    for stage in PURE {
        for file in files(&root().join(stage).join("src"), "rs") {
            if is_of_tests(&file) {
                continue;
            }
            let code = fs::read_to_string(&file).unwrap();
            let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
                let reader = READERS.iter().find(|reader| line.contains(**reader));
                assert_eq!(reader, None, "{}: {line}", file.display());
            }
            count += 1;
        }
    }
    assert!(count > 80, "only {count} files found");
}

/// Files that only tests compile.
fn is_of_tests(file: &Path) -> bool {
    let name = file.file_stem().unwrap_or_default();
    file.components().any(|part| part.as_os_str() == "tests")
        || ["tests", "golden", "generated"].iter().any(|its| name == *its)
}
