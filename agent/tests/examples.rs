//! Examples of the help that need neither root nor an agent, run as they stand there.

use std::path::Path;
use std::process::{Command, Output};

fn tcpwhy(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tcpwhy")).args(arguments).output().expect("run tcpwhy")
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// The example lines of a command's help, without the remarks beside them.
fn examples(command: &str) -> Vec<String> {
    let help = text(&tcpwhy(&[command, "--help"]));
    let lines = help.lines().filter_map(|line| line.strip_prefix("  tcpwhy "));
    let ends = ["  ", " > ", " | ", " && "];
    lines
        .map(|line| {
            line[..ends.iter().filter_map(|end| line.find(end)).min().unwrap_or(line.len())].to_owned()
        })
        .collect()
}

#[test]
fn examples_of_timeouts_print_what_they_say() {
    let examples = examples("timeouts");
    assert!(examples.len() > 5, "{examples:?}");
    for example in examples {
        let words: Vec<_> = example.split(' ').filter(|word| !word.is_empty()).collect();
        assert!(!text(&tcpwhy(&words)).is_empty(), "{example}");
    }
}

#[test]
fn completions_are_what_the_shell_reads() {
    for example in examples("completions") {
        let words: Vec<_> = example.split(' ').collect();
        let script = text(&tcpwhy(&words));
        assert!(script.contains("tcpwhy") && script.contains("standalone"), "{example}");
    }
    let script = text(&tcpwhy(&["completions", "bash"]));
    let parsed = Command::new("bash").args(["-n", "-c", &script]).output().expect("run bash");
    assert!(parsed.status.success(), "{}", String::from_utf8_lossy(&parsed.stderr));
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("man-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    text(&tcpwhy(&["man", directory.to_str().expect("plain")]));
    for command in ["agent", "tail", "top", "why", "timeouts", "record", "replay", "check"] {
        let page = std::fs::read_to_string(directory.join(format!("tcpwhy-{command}.1"))).expect("a page");
        for part in [".TH", "Examples:", "Exit status: 0"] {
            assert!(page.contains(part), "no {part:?} in the page of {command}");
        }
    }
    std::fs::remove_dir_all(&directory).expect("remove the pages");
    let nowhere = tcpwhy(&["man", "/nonexistent"]);
    assert_eq!(nowhere.status.code(), Some(1));
    let printed = String::from_utf8_lossy(&nowhere.stderr);
    assert!(printed.starts_with("tcpwhy: write the manual pages into /nonexistent"), "{printed}");
}
