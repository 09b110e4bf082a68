//! How a line is written.

use std::io;

use agent_model::escape::is_plain;
use serde::Serialize;
use serde_json::ser::Formatter;

/// Room for most lines, so that the buffer grows once.
const LINE_BYTES: usize = 2560;

/// JSON allows most control characters as they are; a terminal would obey them.
struct Guarded;

impl Formatter for Guarded {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, to: &mut W, text: &str) -> io::Result<()> {
        if text.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
            return to.write_all(text.as_bytes());
        }
        text.chars().try_for_each(|c| write_char(to, c))
    }
}

fn write_char<W: ?Sized + io::Write>(to: &mut W, c: char) -> io::Result<()> {
    if is_plain(c) {
        return write!(to, "{c}");
    }
    c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(to, "\\u{unit:04x}"))
}

/// One line of JSON with its newline.
pub(crate) fn line(value: &impl Serialize) -> String {
    let mut out = Vec::with_capacity(LINE_BYTES);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, Guarded);
    value.serialize(&mut serializer).expect("all keys are strings and a Vec takes all");
    out.push(b'\n');
    String::from_utf8(out).expect("serde_json writes UTF-8")
}

/// RFC 3339 with all nine digits, so that lines align and sort as text.
pub(crate) mod nanos {
    use jiff::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{time:.9}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}
