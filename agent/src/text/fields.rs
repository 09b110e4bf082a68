//! The columns of a line for people, and how their times are printed.

use std::str::FromStr;

use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// When.
    Time,
    /// What happened, and of which kind.
    Event,
    /// This host's side.
    Local,
    /// The peer.
    Remote,
    /// The socket's process.
    Process,
    /// The numbers that matter.
    What,
    /// The connection's name, for `tcpwhy why --id`.
    Connection,
    /// Inode of the network namespace.
    Netns,
    /// The socket's state.
    State,
}

/// The text names no column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not one of {}", Field::WORDS.join(", "))]
pub struct NoField;

impl Field {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Time,
        Self::Event,
        Self::Local,
        Self::Remote,
        Self::Process,
        Self::What,
        Self::Connection,
        Self::Netns,
        Self::State,
    ];
    /// Their words.
    pub const WORDS: [&'static str; 9] =
        ["time", "event", "local", "remote", "process", "what", "connection", "netns", "state"];
    /// Those that are printed if nobody says otherwise.
    pub const USUAL: [Self; 6] =
        [Self::Time, Self::Event, Self::Local, Self::Remote, Self::Process, Self::What];
}

impl FromStr for Field {
    type Err = NoField;

    fn from_str(text: &str) -> Result<Self, NoField> {
        Self::WORDS.iter().position(|word| *word == text).map(|place| Self::ALL[place]).ok_or(NoField)
    }
}

/// How times are printed.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The wall clock of a zone.
    Absolute(TimeZone),
    /// Since the first line.
    Relative,
    /// Since the line before.
    Delta,
}

/// A clock that goes.
#[derive(Debug)]
pub(super) struct Watch {
    clock: Clock,
    from: Option<Timestamp>,
}

impl Watch {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, from: None }
    }

    pub(super) fn title(&self) -> String {
        match &self.clock {
            Clock::Absolute(zone) => match zone.to_offset(Timestamp::now()) {
                Offset::UTC => "TIME (UTC)".to_owned(),
                offset => format!("TIME ({offset})"),
            },
            Clock::Relative => "SINCE START".to_owned(),
            Clock::Delta => "SINCE LAST".to_owned(),
        }
    }

    /// 12 characters up to a week.
    pub(super) fn print(&mut self, time: Timestamp) -> String {
        let from = *self.from.get_or_insert(time);
        match &self.clock {
            Clock::Absolute(zone) => {
                return time.to_zoned(zone.clone()).strftime("%H:%M:%S.%3f").to_string();
            }
            Clock::Relative => (),
            Clock::Delta => self.from = Some(time),
        }
        // Events of several CPUs may come a moment out of order.
        let since = time.duration_since(from);
        let sign = if since < SignedDuration::ZERO { '-' } else { '+' };
        let ms = since.as_millis().unsigned_abs();
        format!("{:>12}", format!("{sign}{}.{:03}s", ms / 1000, ms % 1000))
    }
}
