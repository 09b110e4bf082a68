//! Lines for people: one event a line, in columns that hold.

mod event;
mod fields;
mod names;
#[cfg(test)]
mod tests;
mod what;

use agent_diagnose::Phase;
use agent_model::escape::{Escaped, is_plain};
use agent_model::event::{Direction, OwnerSource};
use agent_model::schema::End;
use agent_model::signals::packet_dropped::Direction as PacketWay;
use agent_model::signals::{Mark, Sections, Way};
use agent_model::words;
use anstyle::{AnsiColor, Style};
use jiff::tz::TimeZone;

use self::fields::Watch;
pub use self::fields::{Clock, Field, NoField};
use self::names::Names;
use crate::schema::{Diagnosis, Item, Line, Owner, PlaceNames};

/// What a column may grow to; a longer text is cut, so that no name moves its neighbours.
const EVENT_MAX: usize = 40;
/// `[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535`
const END_MAX: usize = 47;
/// 15 bytes of name, a process id of 7 digits in brackets, a question mark; before them the pod.
const PROCESS_MAX: usize = 25 + 1 + PLACE_MAX;
/// Of namespace, pod and container together.
const PLACE_MAX: usize = 56;

/// 64 bits, hexadecimal.
const CONNECTION: usize = 16;
const NETNS: usize = 10;
/// `NEW_SYN_RECV`
const STATE: usize = 12;

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
const RED: Style = AnsiColor::Red.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const MAGENTA: Style = AnsiColor::Magenta.on_default();
const PLAIN: Style = Style::new();

/// How lines look.
#[derive(Clone, Debug)]
pub struct LineStyle {
    /// How times are printed.
    pub clock: Clock,
    /// The columns.
    pub fields: Vec<Field>,
    /// Names of hosts in place of addresses.
    pub resolve: bool,
    /// Escape sequences.
    pub colour: bool,
}

impl LineStyle {
    /// The usual columns, times of this host's zone.
    pub fn usual(colour: bool) -> Self {
        let clock = Clock::Absolute(TimeZone::system());
        Self { clock, fields: Field::USUAL.to_vec(), resolve: false, colour }
    }
}

/// Formats lines one below the other. A column is as wide as the widest text it has held.
#[derive(Debug)]
pub struct Text {
    watch: Watch,
    fields: Vec<Field>,
    names: Option<Names>,
    colour: bool,
    event: usize,
    end: usize,
    process: usize,
}

impl Text {
    /// Lines in this style.
    pub fn new(style: LineStyle) -> Self {
        let LineStyle { clock, fields, resolve, colour } = style;
        let names = resolve.then(Names::start);
        Self { watch: Watch::new(clock), fields, names, colour, event: 34, end: 21, process: 20 }
    }

    /// Names of the columns, for the top.
    pub fn header(&self) -> String {
        let title = |&field| match field {
            Field::Time => format!("{:12}", self.watch.title()),
            // Room for the arrow between the two ends.
            Field::Local if self.has_arrow() => self.padded(field, "LOCAL") + "   ",
            Field::Event
            | Field::Local
            | Field::Remote
            | Field::Process
            | Field::What
            | Field::Connection
            | Field::Netns
            | Field::State => self.padded(field, &Field::WORDS[field as usize].to_uppercase()),
        };
        self.paint(BOLD, row(self.fields.iter().map(title)).trim_end()) + "\n"
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
            Item::Gap(gap) => self.paint(BOLD, &what::gap(gap)) + "\n",
        }
    }

    fn event_line(&mut self, line: &Line) -> String {
        let fields = self.fields.clone();
        let cells: Vec<_> = fields.iter().map(|&field| self.cell(field, line)).collect();
        let mut row = row(cells);
        row.truncate(row.trim_end().len());
        row.push('\n');
        row
    }

    fn cell(&mut self, field: Field, line: &Line) -> String {
        let text = match field {
            Field::Time => {
                let time = self.watch.print(line.time);
                return self.paint(DIM, &time);
            }
            Field::Event => fit(&mut self.event, EVENT_MAX, event::words(line)),
            Field::Local => self.end_of(line, line.local),
            Field::Remote => self.end_of(line, line.remote),
            Field::Process => {
                fit(&mut self.process, PROCESS_MAX, whose(line.place.as_ref(), line.process.as_ref()))
            }
            Field::What => what::words(line),
            Field::Connection => line.connection.clone().unwrap_or_else(|| "-".to_owned()),
            Field::Netns => line.netns.to_string(),
            Field::State => line.state.map_or("-", words::state).to_owned(),
        };
        let cell = self.padded(field, &text);
        if field == Field::Event {
            self.paint(style(line), &cell)
        } else if field == Field::Local && self.has_arrow() {
            format!("{cell} {}", arrow(line))
        } else {
            cell
        }
    }

    /// An arrow says which way it went, where the two ends stand side by side.
    fn has_arrow(&self) -> bool {
        self.fields.windows(2).any(|pair| pair == [Field::Local, Field::Remote])
    }

    fn padded(&self, field: Field, text: &str) -> String {
        let width = match field {
            Field::Time | Field::What => 0,
            Field::Event => self.event,
            Field::Local | Field::Remote => self.end,
            Field::Process => self.process,
            Field::Connection => CONNECTION,
            Field::Netns => NETNS,
            Field::State => STATE,
        };
        format!("{text:width$}")
    }

    fn end_of(&mut self, line: &Line, one: End) -> String {
        let name = self.names.as_ref().and_then(|names| names.of(one.address));
        let text = match name {
            Some(name) => format!("{}:{}", Escaped(&name), one.port),
            None => end(line, one),
        };
        fit(&mut self.end, END_MAX, text)
    }

    fn diagnosis_line(&self, diagnosis: &Diagnosis) -> String {
        let Diagnosis { cause, phase, summary, local, remote, place, stands_for, .. } = diagnosis;
        let word = match phase {
            Phase::Died | Phase::Stalled => "why ",
            Phase::Recovered => "over",
        };
        let why = self.paint(cause_style(*phase), &format!("{word} {cause}"));
        let place = place.as_ref().and_then(PlaceNames::short).map(|place| format!("{place} "));
        let place = place.as_deref().map(printable).unwrap_or_default();
        let others =
            if *stands_for > 1 { format!("; {} more like it", stands_for - 1) } else { String::new() };
        format!("  {why}: {} ({place}{local} -- {remote}{others})\n", printable(summary))
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.colour && !style.is_plain() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

fn row(cells: impl IntoIterator<Item = String>) -> String {
    cells.into_iter().collect::<Vec<_>>().join(" ")
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

/// The process, after the pod or container that the socket lives in.
fn whose(place: Option<&PlaceNames>, owner: Option<&Owner>) -> String {
    let process = process(owner);
    let Some(place) = place.and_then(PlaceNames::short) else { return process };
    let place = Escaped(&place).to_string();
    let place = if place.chars().count() > PLACE_MAX {
        place.chars().take(PLACE_MAX - 1).chain(['…']).collect()
    } else {
        place
    };
    if owner.is_some() { format!("{place} {process}") } else { place }
}

/// A question mark where only the listener's process is known: believed, not seen.
fn process(owner: Option<&Owner>) -> String {
    let Some(Owner { pid, comm, source }) = owner else { return "-".to_owned() };
    let doubt = if *source == OwnerSource::Listener { "?" } else { "" };
    format!("{}[{pid}]{doubt}", Escaped(comm))
}

/// Which way the segment went, or the memory that was asked for.
fn arrow(line: &Line) -> &'static str {
    let Sections { reset, memory, drop, .. } = &line.sections;
    let is_sent = drop.as_ref().is_some_and(|drop| {
        line.state.is_some() && matches!(drop.direction, Some(PacketWay::Out | PacketWay::Transit))
    });
    let is_answer = reset.as_ref().is_some_and(|reset| !reset.active);
    let is_receive = memory.as_ref().is_some_and(|memory| memory.direction == Direction::Receive);
    match line.event.way() {
        _ if is_sent => "->",
        _ if is_answer || is_receive => "<-",
        Way::In => "<-",
        Way::Out => "->",
        Way::Nowhere => "--",
    }
}

fn style(line: &Line) -> Style {
    let Sections { retransmit, state_change, .. } = &line.sections;
    match line.event.mark() {
        Mark::Repeat if retransmit.as_ref().is_some_and(|sent| sent.stage.is_none()) => PLAIN,
        Mark::Repeat => YELLOW,
        Mark::Reset => RED,
        Mark::Shortage => MAGENTA,
        Mark::Step if state_change.as_ref().is_some_and(|change| change.error.is_some()) => RED,
        Mark::Step => DIM,
        Mark::Recovery => BOLD,
    }
}
