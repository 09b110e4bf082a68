//! TCP flags.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// TCP flags (RFC 9293 §3.1); in lines their words, `ACK,PSH`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub struct TcpFlags(pub u8);

/// In the order they are printed: what opens or ends a connection first.
const WORDS: &[(TcpFlags, &str); 8] = &[
    (TcpFlags::SYN, "SYN"),
    (TcpFlags(0x01), "FIN"),
    (TcpFlags(0x04), "RST"),
    (TcpFlags::ACK, "ACK"),
    (TcpFlags(0x08), "PSH"),
    (TcpFlags(0x20), "URG"),
    (TcpFlags(0x40), "ECE"),
    (TcpFlags(0x80), "CWR"),
];

impl TcpFlags {
    /// It opens a connection.
    pub const SYN: Self = Self(0x02);
    /// It acknowledges.
    pub const ACK: Self = Self(0x10);

    /// Whether all of `others` are set.
    pub fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    fn words(self) -> impl Iterator<Item = &'static str> {
        WORDS.iter().filter(move |(flag, _)| self.contains(*flag)).map(|(_, word)| *word)
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.words().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            f.write_str(word)?;
        }
        Ok(())
    }
}

impl Serialize for TcpFlags {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A word of a later version is none.
impl<'de> Deserialize<'de> for TcpFlags {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(from)?;
        let flags = text.split(',').filter_map(|word| WORDS.iter().find(|(_, known)| *known == word));
        Ok(Self(flags.fold(0, |set, (flag, _)| set | flag.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_listed() {
        for (flags, words) in [(0x18, "ACK,PSH"), (0x12, "SYN,ACK"), (0, "")] {
            assert_eq!(TcpFlags(flags).to_string(), words);
        }
    }

    #[test]
    fn all_flags_read_back() {
        for flags in (0..=u8::MAX).map(TcpFlags) {
            let json = serde_json::to_string(&flags).unwrap();
            assert_eq!(serde_json::from_str::<TcpFlags>(&json).unwrap(), flags);
        }
        assert_eq!(serde_json::from_str::<TcpFlags>("\"AE,SYN\"").unwrap(), TcpFlags::SYN);
    }
}
