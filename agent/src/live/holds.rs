//! How long questions hold the pipeline: for so long it takes no events.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A kind of question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// `GET /v1/advise`
    Advise,
    /// `GET /v1/families`
    Families,
    /// `GET /metrics`
    Scrape,
    /// `GET /v1/top`
    Top,
    /// `GET /v1/why`
    Why,
}

/// The words, in the order of [`Question`].
const WORDS: [&str; 5] = ["advise", "families", "scrape", "top", "why"];

/// The longest hold of each kind so far, ns.
#[derive(Debug, Default)]
pub(super) struct Holds([AtomicU64; WORDS.len()]);

impl Holds {
    /// A question held the pipeline for this long.
    pub(super) fn note(&self, question: Question, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0[question as usize].fetch_max(nanoseconds, Ordering::Relaxed);
    }
}

/// `longest holds of the pipeline in us: advise 0, ...`, which the bench reads.
impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("longest holds of the pipeline in us:")?;
        for (number, (word, longest)) in WORDS.iter().zip(&self.0).enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma} {word} {}", longest.load(Ordering::Relaxed) / 1000)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_of_each_kind_is_logged() {
        let holds = Holds::default();
        for (question, time) in [(Question::Advise, 5), (Question::Why, 7), (Question::Why, 3)] {
            holds.note(question, Duration::from_micros(time));
        }
        let logged = "longest holds of the pipeline in us: advise 5, families 0, scrape 0, top 0, why 7";
        assert_eq!(holds.to_string(), logged);
    }
}
