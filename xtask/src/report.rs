//! What a task prints for its user while it works, on stderr; colour on a terminal only.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};

/// Done, found, passed.
pub const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Failed.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// Left out.
pub const DOUBTFUL: Style = AnsiColor::Yellow.on_default().bold();

/// One line: what is being done, aligned with cargo's own.
pub fn status(verb: &str, text: impl Display) {
    line(GOOD, verb, text);
}

/// A way that did not work out, with another one left.
pub fn note(verb: &str, text: impl Display) {
    line(DOUBTFUL, verb, text);
}

/// What ended the task.
pub fn error(text: impl Display) {
    anstream::eprintln!("{BAD}error{BAD:#}: {text}");
}

fn line(style: Style, verb: &str, text: impl Display) {
    anstream::eprintln!("{style}{verb:>12}{style:#} {text}");
}
