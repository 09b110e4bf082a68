//! Sizes of rings, as people write them.

use std::fmt;
use std::str::FromStr;

/// Smallest ring: one page of the largest kind, and some records.
const MIN: u32 = 64 << 10;
/// Largest ring that the kernel makes.
const MAX: u32 = 1 << 30;

/// Bytes, a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Size(pub(in crate::cli) u32);

/// Not a size of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a power of two from 64K to 1G, like 4M or 4194304")]
pub(in crate::cli) struct NoSize;

impl FromStr for Size {
    type Err = NoSize;

    fn from_str(text: &str) -> Result<Self, NoSize> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let shift = match &text[digits.len()..] {
            "" => 0,
            "K" | "KiB" => 10,
            "M" | "MiB" => 20,
            "G" | "GiB" => 30,
            _ => return Err(NoSize),
        };
        let bytes = digits.parse::<u32>().ok().and_then(|number| number.checked_mul(1 << shift));
        bytes.filter(|bytes| bytes.is_power_of_two() && (MIN..=MAX).contains(bytes)).map(Self).ok_or(NoSize)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB", self.0 >> 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for text in ["4M", "4MiB", "4096K", "4194304"] {
            assert_eq!(text.parse(), Ok(Size(4 << 20)), "{text}");
        }
        assert_eq!("1G".parse(), Ok(Size(MAX)));
        for text in ["", "M", "3M", "4m", "-4M", "8G", "4096", "4 M", "4Mü"] {
            assert_eq!(text.parse::<Size>(), Err(NoSize), "{text}");
        }
    }
}
