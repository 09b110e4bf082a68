//! Names come from whoever named the process: nothing in them may reach a terminal as a command.

use std::fmt::{self, Write as _};

/// Shows a text with every character that does not simply print as an escape (`\u{1b}`), and every
/// backslash doubled, so that two texts never look the same.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c == '\'' || c == '"' {
                f.write_char(c)?;
            } else {
                write!(f, "{}", c.escape_debug())?;
            }
        }
        Ok(())
    }
}

/// Not a control character, not a mark that turns the line's direction or joins its neighbour: safe on a
/// terminal as it is.
pub fn is_plain(c: char) -> bool {
    matches!(c, '\'' | '"' | '\\') || c.escape_debug().len() == 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escape_sequences_become_text() {
        assert_eq!(Escaped("a\x1b[31mb\r\n\u{9b}\u{202e}").to_string(), r"a\u{1b}[31mb\r\n\u{9b}\u{202e}");
        assert_eq!(Escaped(r#"it's "a\b""#).to_string(), r#"it's "a\\b""#);
    }

    proptest! {
        #[test]
        fn nothing_but_plain_characters_comes_out(text in any::<String>()) {
            prop_assert!(Escaped(&text).to_string().chars().all(is_plain));
        }
    }
}
