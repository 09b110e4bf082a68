//! Lines for people: one event a line, in columns that hold.

mod event;
#[cfg(test)]
mod tests;
mod what;

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use jiff::tz::TimeZone;

use super::escape::{Escaped, is_plain};
use super::line::{Diagnosis, End, Item, Line, Owner};
use super::words::EventWord;
use crate::diagnose::Phase;
use crate::event::OwnerSource;

/// What a column may grow to; a longer text is cut, so that no name moves its neighbours.
const EVENT_MAX: usize = 40;
/// `[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535`
const END_MAX: usize = 47;
/// 15 bytes of name, a process id of 7 digits in brackets, a question mark.
const PROCESS_MAX: usize = 25;

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
const RED: Style = AnsiColor::Red.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const MAGENTA: Style = AnsiColor::Magenta.on_default();
const PLAIN: Style = Style::new();

/// Formats lines one below the other. A column is as wide as the widest text it has held.
#[derive(Debug)]
pub struct Text {
    zone: TimeZone,
    colour: bool,
    event: usize,
    end: usize,
    process: usize,
}

impl Text {
    /// Times in `zone`; escape sequences only with `colour`.
    pub fn new(zone: TimeZone, colour: bool) -> Self {
        Self { zone, colour, event: 34, end: 21, process: 20 }
    }

    /// Names of the columns, for the top.
    pub fn header(&self) -> String {
        let row = format!(
            "{:12} {:event$} {:end$}    {:end$} {:process$} {}",
            self.time_title(),
            "EVENT",
            "LOCAL",
            "REMOTE",
            "PROCESS",
            "WHAT",
            event = self.event,
            end = self.end,
            process = self.process
        );
        self.paint(BOLD, &row) + "\n"
    }

    fn time_title(&self) -> String {
        let offset = self.zone.to_offset(jiff::Timestamp::now());
        if offset == jiff::tz::Offset::UTC { "TIME (UTC)".to_owned() } else { format!("TIME ({offset})") }
    }

    /// The line of `item`, with its newline.
    pub fn line(&mut self, item: &Item) -> String {
        match item {
            Item::Event(line) => self.event_line(line),
            Item::Diagnosis(diagnosis) => self.diagnosis_line(diagnosis),
            Item::Missed(missed) => {
                let note = format!("({} events missed: this reader is too slow)", missed.count);
                self.paint(BOLD, &note) + "\n"
            }
        }
    }

    fn event_line(&mut self, line: &Line) -> String {
        let event = fit(&mut self.event, EVENT_MAX, event::words(line));
        let local = fit(&mut self.end, END_MAX, end(line, line.local));
        let remote = fit(&mut self.end, END_MAX, end(line, line.remote));
        let process = fit(&mut self.process, PROCESS_MAX, process(line.process.as_ref()));
        let mut row = self.paint(DIM, &self.time(line));
        let _ = write!(row, " {}", self.paint(style(line), &format!("{event:0$}", self.event)));
        let _ = write!(
            row,
            " {local:end$} {} {remote:end$} {process:width$} ",
            arrow(line),
            end = self.end,
            width = self.process
        );
        row += &what::words(line);
        row.truncate(row.trim_end().len());
        row.push('\n');
        row
    }

    fn diagnosis_line(&self, diagnosis: &Diagnosis) -> String {
        let Diagnosis { cause, phase, summary, local, remote, .. } = diagnosis;
        let word = match phase {
            Phase::Died | Phase::Stalled => "why ",
            Phase::Recovered => "over",
        };
        let why = self.paint(cause_style(*phase), &format!("{word} {cause}"));
        format!("  {why}: {} ({local} -- {remote})\n", printable(summary))
    }

    fn time(&self, line: &Line) -> String {
        line.time.to_zoned(self.zone.clone()).strftime("%H:%M:%S.%3f").to_string()
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.colour && !style.is_plain() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

/// A summary has names that are escaped already; one from elsewhere may not be.
fn printable(text: &str) -> String {
    text.chars().map(|c| if is_plain(c) { c } else { '?' }).collect()
}

fn cause_style(phase: Phase) -> Style {
    match phase {
        Phase::Died => RED.bold(),
        Phase::Stalled => YELLOW.bold(),
        Phase::Recovered => BOLD,
    }
}

/// Widens the column for `text`, or cuts `text` at the column's limit.
fn fit(column: &mut usize, limit: usize, text: String) -> String {
    let width = text.chars().count();
    *column = (*column).max(width.min(limit));
    if width <= limit { text } else { text.chars().take(limit - 1).chain(['…']).collect() }
}

/// Sockets of protocols without ports have none to show.
fn end(line: &Line, end: End) -> String {
    match line.protocol {
        Some(_) if end.port == 0 => end.address.to_string(),
        Some(_) | None => end.to_string(),
    }
}

/// A question mark where only the listener's process is known: believed, not seen.
fn process(owner: Option<&Owner>) -> String {
    let Some(Owner { pid, comm, source }) = owner else { return "-".to_owned() };
    let doubt = if *source == OwnerSource::Listener { "?" } else { "" };
    format!("{}[{pid}]{doubt}", Escaped(comm))
}

/// Which way the segment went, or the memory that was asked for.
fn arrow(line: &Line) -> &'static str {
    match line.event {
        EventWord::ResetReceived | EventWord::RcvqueueFull => "<-",
        EventWord::ResetSent if line.reset.as_ref().is_some_and(|reset| !reset.active) => "<-",
        EventWord::BufLimitExceeded if line.memory.as_ref().is_some_and(what::is_receive) => "<-",
        EventWord::StateChanged | EventWord::SockDestroyed => "--",
        EventWord::Retransmit
        | EventWord::SynackRetransmit
        | EventWord::ResetSent
        | EventWord::BufLimitExceeded => "->",
    }
}

fn style(line: &Line) -> Style {
    match line.event {
        EventWord::Retransmit if line.retransmit.as_ref().is_some_and(|sent| sent.stage.is_none()) => PLAIN,
        EventWord::Retransmit | EventWord::SynackRetransmit => YELLOW,
        EventWord::ResetSent | EventWord::ResetReceived => RED,
        EventWord::BufLimitExceeded | EventWord::RcvqueueFull => MAGENTA,
        EventWord::StateChanged
            if line.state_change.as_ref().is_some_and(|change| change.error.is_some()) =>
        {
            RED
        }
        EventWord::StateChanged | EventWord::SockDestroyed => DIM,
    }
}
