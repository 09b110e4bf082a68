//! The rows of each panel: their text, their sort keys, and the text that a filter searches.

use std::cmp::Ordering;

use agent_diagnose::Phase;
use agent_model::escape::Escaped;
use agent_model::schema::End;
use jiff::{SignedDuration, Timestamp};

use super::model::{Model, Panel};
use crate::answers::top::{Stalled, Workload};
use crate::schema::{Diagnosis, Outlook, Owner, PlaceNames};

/// A column of a panel.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Characters; 0 takes what the others leave.
    pub(super) width: u16,
    /// Screens narrower than this do without it.
    pub(super) from: u16,
    /// Numbers stand right.
    pub(super) right: bool,
    /// Sorted by it, the greatest come first.
    descending: bool,
}

const fn text(title: &'static str, width: u16, from: u16) -> Column {
    Column { title, width, from, right: false, descending: false }
}

const fn number(title: &'static str, width: u16, descending: bool) -> Column {
    Column { title, width, from: 0, right: true, descending }
}

const STALLED: &[Column] = &[
    number("GIVES UP", 9, false),
    number("STAGE", 6, true),
    number("RTO", 6, true),
    text("CONNECTION", 0, 0),
    text("PROCESS", 17, 0),
    text("RULE", 18, 110),
    text("CAUSE", 24, 130),
];

const DIAGNOSES: &[Column] = &[
    number("AGO", 6, false),
    text("CAUSE", 23, 0),
    text("CONNECTION", 0, 0),
    text("PHASE", 9, 90),
    text("PROCESS", 23, 110),
];

const WORKLOADS: &[Column] = &[
    text("WORKLOAD", 0, 0),
    number("RATIO", 7, true),
    number("RESENT", 8, true),
    number("RST SENT", 9, true),
    number("RST RECV", 9, true),
    number("STALLED", 8, true),
    number("LIVE", 6, true),
    number("DEAD", 6, true),
];

/// The panel's columns.
pub(super) fn columns(panel: Panel) -> &'static [Column] {
    match panel {
        Panel::Stalled => STALLED,
        Panel::Diagnoses => DIAGNOSES,
        Panel::Workloads => WORKLOADS,
    }
}

/// How rows are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) column: usize,
    pub(super) descending: bool,
}

/// What comes first as long as nobody says otherwise: the nearest end, the last diagnosis, the worst ratio.
pub(super) fn first_order(panel: Panel) -> Order {
    let column = usize::from(panel == Panel::Workloads);
    Order { column, descending: columns(panel)[column].descending }
}

impl Order {
    /// By the next column.
    pub(super) fn next(&mut self, panel: Panel) {
        self.column = (self.column + 1) % columns(panel).len();
        self.descending = columns(panel)[self.column].descending;
    }

    /// The other way round.
    pub(super) fn turn(&mut self) {
        self.descending = !self.descending;
    }

    pub(super) fn sort(self, rows: &mut [Row]) {
        rows.sort_by(|a, b| {
            let order = a.cells[self.column].1.compare(&b.cells[self.column].1);
            if self.descending { order.reverse() } else { order }
        });
    }
}

/// A value that rows are sorted by.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Key {
    Number(f64),
    Text(String),
}

impl Key {
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Number(_), Self::Text(_)) => Ordering::Less,
            (Self::Text(_), Self::Number(_)) => Ordering::Greater,
        }
    }
}

/// A row of any panel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// Tells it from the others of its panel.
    pub(super) key: String,
    /// The connection that it is about.
    pub(super) connection: Option<String>,
    /// One a column.
    pub(super) cells: Vec<(String, Key)>,
    /// The text that a filter searches; for the selected row it also stands below the table.
    pub(super) text: String,
    /// What has come of the connection.
    pub(super) phase: Option<Phase>,
}

/// The rows of the panel that is shown, unsorted.
pub(super) fn rows(model: &Model) -> Vec<Row> {
    let overview = model.top.as_ref().map(|top| &top.overview);
    match model.panel {
        Panel::Stalled => {
            overview.into_iter().flat_map(|seen| &seen.stalled).map(|one| stalled(one, model.now)).collect()
        }
        Panel::Diagnoses => model.diagnoses.iter().map(|one| diagnosis(one, model.now)).collect(),
        Panel::Workloads => overview.into_iter().flat_map(|seen| &seen.workloads).map(workload).collect(),
    }
}

fn stalled(one: &Stalled, now: Timestamp) -> Row {
    let Stalled { connection, local, remote, process, place, cause, summary, outlook, .. } = one;
    let outlook = outlook.as_ref();
    let left = outlook.and_then(|outlook| left(outlook, now));
    let stage = outlook.map_or(0, |outlook| outlook.stage);
    let rto = outlook.map_or(0, |outlook| outlook.rto_ms);
    let rule = outlook.map_or("", rule);
    let cause = cause.map_or("", |cause| cause.as_str());
    let (ends, process) = (ends(*local, *remote), who(place.as_ref(), process.as_ref()));
    Row {
        key: connection.clone(),
        connection: Some(connection.clone()),
        text: format!("{cause}: {summary} ({ends} {process})"),
        cells: vec![
            (left.map_or("never".to_owned(), countdown), seconds(left)),
            (format!("#{stage}"), Key::Number(stage.into())),
            (short(SignedDuration::from_millis(rto as i64)), Key::Number(rto as f64)),
            word(ends),
            word(process),
            word(rule.to_owned()),
            word(cause.to_owned()),
        ],
        phase: Some(Phase::Stalled),
    }
}

fn diagnosis(one: &Diagnosis, now: Timestamp) -> Row {
    let Diagnosis { cause, phase, summary, local, remote, process, place, time, connection, .. } = one;
    let ago = now.duration_since(*time);
    let (ends, phase_word) = (ends(*local, *remote), phase_word(*phase));
    let process = who(place.as_ref(), process.as_ref());
    Row {
        key: format!("{time:.9} {}", connection.as_deref().unwrap_or_default()),
        connection: connection.clone(),
        text: format!("{phase_word}, {cause}: {summary} ({ends} {process})"),
        cells: vec![
            (short(ago.max(SignedDuration::ZERO)), Key::Number(ago.as_secs_f64())),
            word(cause.to_string()),
            word(ends),
            word(phase_word.to_owned()),
            word(process),
        ],
        phase: Some(*phase),
    }
}

fn workload(one: &Workload) -> Row {
    let count = |count: u64| (count.to_string(), Key::Number(count as f64));
    let ratio = one.retransmit_ratio();
    let name = Escaped(&one.name).to_string();
    let ratio_text = ratio.map_or("-".to_owned(), |ratio| format!("{:.1} %", 100.0 * ratio));
    Row {
        key: one.name.clone(),
        connection: None,
        text: format!(
            "{name}: {} of {} bytes sent again ({ratio_text}), on {} connections with trouble",
            one.resent_bytes,
            one.sent_bytes,
            one.live + one.dead
        ),
        cells: vec![
            word(name),
            (ratio_text, Key::Number(ratio.unwrap_or(-1.0))),
            count(one.resent_segments),
            count(one.resets_sent),
            count(one.resets_received),
            count(one.stalled),
            count(one.live),
            count(one.dead),
        ],
        phase: None,
    }
}

fn word(text: String) -> (String, Key) {
    (text.clone(), Key::Text(text))
}

fn ends(local: End, remote: End) -> String {
    format!("{local} > {remote}")
}

fn name(owner: Option<&Owner>) -> String {
    owner.map_or("-".to_owned(), |owner| format!("{}[{}]", Escaped(&owner.comm), owner.pid))
}

/// In a pod its name comes first, as in a line of `tcpwhy tail`.
fn who(place: Option<&PlaceNames>, owner: Option<&Owner>) -> String {
    match place.and_then(PlaceNames::short) {
        Some(place) => format!("{} {}", Escaped(&place), name(owner)),
        None => name(owner),
    }
}

fn rule(outlook: &Outlook) -> &'static str {
    outlook.deadline.as_ref().map_or("nothing ends it", |deadline| deadline.rule.as_str())
}

pub(super) fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Died => "died",
        Phase::Stalled => "stalled",
        Phase::Recovered => "recovered",
    }
}

/// Time until the kernel may give up; `None` if it never will.
fn left(outlook: &Outlook, now: Timestamp) -> Option<SignedDuration> {
    Some(outlook.deadline.as_ref()?.earliest.duration_since(now))
}

fn seconds(time: Option<SignedDuration>) -> Key {
    Key::Number(time.map_or(f64::INFINITY, |time| time.as_secs_f64()))
}

fn countdown(left: SignedDuration) -> String {
    if left.is_positive() { short(left) } else { "now".to_owned() }
}

/// `204ms`, `6.0s`, `59s`, `12m03s`, `2h05m`: at most 6 characters up to four days.
pub(super) fn short(time: SignedDuration) -> String {
    let (seconds, ms) = (time.as_secs(), time.as_millis());
    match seconds {
        ..1 => format!("{ms}ms"),
        1..10 => format!("{seconds}.{}s", ms % 1000 / 100),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}
