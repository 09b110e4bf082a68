//! Every command line that help and docs show is one that the program takes.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;

use crate::cli::Cli;

/// Lines of a text that are commands: `tcpwhy ...` at their start, perhaps after `$ `, `sudo`, variables or
/// another command's pipe.
fn commands(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.trim().trim_start_matches("$ "));
    let parts = lines.flat_map(|line| line.split(" | "));
    let parts = parts.map(|part| part.strip_prefix("sudo ").unwrap_or(part));
    let parts = parts.map(|part| part.strip_prefix("NO_COLOR=1 ").unwrap_or(part));
    let parts = parts.map(|part| {
        part.split_once(" -- ")
            .filter(|(before, _)| before.starts_with("kubectl"))
            .map_or(part, |(_, ours)| ours)
    });
    let parts = parts.map(|part| match part.strip_prefix("kubectl tcpwhy ") {
        Some(ours) => format!("tcpwhy kubectl {ours}"),
        None => part.to_owned(),
    });
    parts.filter(|part| part.starts_with("tcpwhy ")).map(|part| bare(&part)).collect()
}

/// Without what a shell takes, and without the remark in the column beside it.
fn bare(line: &str) -> String {
    let ends = ["  ", " > ", " && ", " || ", " # "];
    let end = ends.iter().filter_map(|end| line.find(end)).min().unwrap_or(line.len());
    line[..end].to_owned()
}

/// Placeholders become what the reader would write there.
fn words(command: &str) -> Vec<OsString> {
    let filled = command
        .replace("ADDRESS:PORT", "198.51.100.1:443")
        .replace("SHELL", "bash")
        .replace(" ARGS", "")
        .replace('\'', "");
    // No test makes a namespace of that name.
    let here = |word| if str::starts_with(word, "/run/netns/") { "/proc/self/ns/net" } else { word };
    filled.split_whitespace().map(|word| OsString::from(here(word))).collect()
}

/// Code of a page: fenced, or indented by four.
fn code(page: &str) -> String {
    let mut fenced = false;
    let mut code = String::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced || line.starts_with("    ") {
            code += line;
            code.push('\n');
        }
    }
    code
}

/// `tcpwhy ...` in running text, between backticks.
fn inline(page: &str) -> Vec<String> {
    page.split('`').skip(1).step_by(2).filter(|code| code.starts_with("tcpwhy ")).map(bare).collect()
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = Vec::new();
    for folder in ["", "docs", "docs/causes", "deploy"] {
        let files = fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        pages.extend(
            files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|end| end == "md")),
        );
    }
    assert!(pages.len() > 30, "{pages:?}");
    pages
}

/// What the program says against it.
fn refusal(command: &str, place: &str) -> Option<String> {
    let mut words = words(command);
    // A command's name in a sentence.
    if words.len() == 2 {
        words.push("--help".into());
    }
    let (code, text) = Cli::read(words).err()?.code_and_text();
    // A flag's name in a sentence.
    let mention = place.contains('/') && text.contains("required");
    (code != 0 && !mention).then(|| format!("{place}: `{command}`: {text}"))
}

#[test]
fn every_command_has_examples_that_parse_and_says_how_it_ends() {
    let mut command = Cli::command();
    command.build();
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        let name = command.get_name();
        let help = command.get_after_help().unwrap_or_else(|| panic!("{name} has no examples")).to_string();
        let shown = commands(&help);
        assert!(help.starts_with("Examples:\n") && shown.len() > 1, "{name}: {help}");
        assert!(shown[0].starts_with(&format!("tcpwhy {name}")), "{name}: {help}");
        assert!(help.contains("Exit status: 0 "), "{name} does not say how it ends: {help}");
        assert_eq!(shown.iter().find_map(|shown| refusal(shown, name)), None);
    }
}

#[test]
fn every_command_of_the_docs_parses() {
    let (mut count, mut refused) = (0, Vec::new());
    for path in pages() {
        let page = fs::read_to_string(&path).unwrap();
        for command in commands(&code(&page)).into_iter().chain(inline(&page)) {
            // `tcpwhy why <connection>` and the like are patterns, not commands.
            if !command.contains(['<', '[']) && !command.contains("...") {
                refused.extend(refusal(&command, &path.display().to_string()));
            }
            count += 1;
        }
    }
    assert!(count >= 20, "only {count} commands found");
    assert!(refused.is_empty(), "{refused:#?}");
}
