//! What the screen shows, and how keys and news change it. Pure: no clock, no terminal, no agent.

use std::collections::VecDeque;
use std::io;

use agent_model::cause::Cause;
use jiff::{SignedDuration, Timestamp};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::table::{self, Order, Row};
use crate::answers::top::Top;
use crate::answers::why::WhyReport;
use crate::schema::Diagnosis;

/// Diagnoses that are kept, the newest.
const MAX_DIAGNOSES: usize = 500;
/// How far back rates and curves go.
const PAST: SignedDuration = SignedDuration::from_mins(1);
/// Rows that a page key moves.
const PAGE: isize = 10;

/// Something happened.
#[derive(Debug)]
pub(super) enum Message {
    /// The agent's overview.
    Top(Box<Top>),
    /// A diagnosis.
    Diagnosis(Box<Diagnosis>),
    /// The agent does not answer.
    Down(String),
    /// The story of a connection, or why there is none.
    Why(String, Result<Box<WhyReport>, String>),
    /// A key.
    Key(KeyEvent),
    /// Time went on.
    Tick(Timestamp),
    /// There are no more keys.
    Gone(io::Error),
}

/// What is to be done about it.
#[derive(Debug)]
pub(super) enum Effect {
    /// To draw.
    None,
    /// To ask for a connection's story.
    Why(String),
    /// To end.
    Quit,
    /// To fail.
    Gone(io::Error),
}

/// The table that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Panel {
    /// Stalled connections.
    Stalled,
    /// Diagnoses, the newest first.
    Diagnoses,
    /// Connections with trouble by process name.
    Workloads,
}

impl Panel {
    pub(super) const ALL: [Self; 3] = [Self::Stalled, Self::Diagnoses, Self::Workloads];
}

/// One connection's story on the screen.
#[derive(Debug)]
pub(super) struct Detail {
    /// Its name.
    pub(super) connection: String,
    /// `None` until the agent answers.
    pub(super) report: Option<Result<Box<WhyReport>, String>>,
    /// Lines above the screen.
    pub(super) scroll: u16,
}

/// Everything that a screen is drawn from.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) now: Timestamp,
    pub(super) top: Option<Box<Top>>,
    /// Overviews of the last minute, oldest first, without their lists of connections.
    pub(super) past: VecDeque<Top>,
    pub(super) diagnoses: VecDeque<Box<Diagnosis>>,
    /// Why the agent does not answer.
    pub(super) down: Option<String>,
    pub(super) panel: Panel,
    orders: [Order; Panel::ALL.len()],
    /// The selected row: where it was, and what it is.
    selected: (usize, Option<String>),
    pub(super) filter: String,
    pub(super) editing: bool,
    pub(super) paused: bool,
    waiting: VecDeque<Message>,
    pub(super) help: bool,
    pub(super) detail: Option<Detail>,
}

impl Model {
    pub(super) fn new(filter: String, now: Timestamp) -> Self {
        Self {
            now,
            top: None,
            past: VecDeque::new(),
            diagnoses: VecDeque::new(),
            down: None,
            panel: Panel::Stalled,
            orders: Panel::ALL.map(table::first_order),
            selected: (0, None),
            filter,
            editing: false,
            paused: false,
            waiting: VecDeque::new(),
            help: false,
            detail: None,
        }
    }

    /// Takes in what happened. News of the agent waits while the screen is paused.
    pub(super) fn apply(&mut self, message: Message) -> Effect {
        match message {
            Message::Key(key) if key.kind == KeyEventKind::Release => Effect::None,
            Message::Key(key) => self.key(key),
            Message::Gone(error) => Effect::Gone(error),
            Message::Why(connection, report) => {
                if let Some(detail) = self.detail.as_mut().filter(|detail| detail.connection == connection) {
                    detail.report = Some(report);
                }
                Effect::None
            }
            news @ (Message::Top(_) | Message::Diagnosis(_) | Message::Down(_) | Message::Tick(_)) => {
                if self.paused {
                    self.wait(news);
                    return Effect::None;
                }
                self.news(news)
            }
        }
    }

    fn wait(&mut self, news: Message) {
        if matches!(news, Message::Tick(_)) {
            return;
        }
        if self.waiting.len() == MAX_DIAGNOSES {
            self.waiting.pop_front();
        }
        self.waiting.push_back(news);
    }

    fn news(&mut self, news: Message) -> Effect {
        match news {
            Message::Tick(now) => self.now = now,
            Message::Down(error) => self.down = Some(error),
            Message::Diagnosis(diagnosis) => {
                self.diagnoses.push_front(diagnosis);
                self.diagnoses.truncate(MAX_DIAGNOSES);
            }
            Message::Top(top) => return self.overview(top),
            Message::Why(..) | Message::Key(_) | Message::Gone(_) => (),
        }
        Effect::None
    }

    /// The story on the screen is asked for again with each overview, since it grows.
    fn overview(&mut self, top: Box<Top>) -> Effect {
        self.now = top.time;
        self.past.retain(|past| top.time.duration_since(past.time) < PAST);
        let mut light = (*top).clone();
        (light.overview.stalled, light.overview.workloads) = (Vec::new(), Vec::new());
        self.past.push_back(light);
        (self.top, self.down) = (Some(top), None);
        match &self.detail {
            Some(detail) => Effect::Why(detail.connection.clone()),
            None => Effect::None,
        }
    }

    /// Connections that the cause ended within the last minute, or since `top` started.
    pub(super) fn lately(&self, cause: Cause) -> u64 {
        let deaths = |top: Option<&Top>| {
            let causes = top.map_or(&[][..], |top| &top.overview.causes);
            causes.iter().find(|count| count.cause == cause).map_or(0, |count| count.deaths)
        };
        deaths(self.past.back()).saturating_sub(deaths(self.past.front()))
    }

    /// How the panel's rows are sorted.
    pub(super) fn order(&self) -> Order {
        self.orders[self.panel as usize]
    }

    /// The rows that pass the filter, in order.
    pub(super) fn rows(&self) -> Vec<Row> {
        let wanted = self.filter.to_lowercase();
        let mut rows = table::rows(self);
        rows.retain(|row| row.text.to_lowercase().contains(&wanted));
        self.order().sort(&mut rows);
        rows
    }

    /// Which of `rows` is selected: the one that was, wherever it went, else whatever took its place.
    pub(super) fn select(&mut self, rows: &[Row]) -> Option<usize> {
        let (place, key) = &self.selected;
        let same = rows.iter().position(|row| Some(&row.key) == key.as_ref());
        let place = same.unwrap_or(*place).min(rows.len().saturating_sub(1));
        self.selected = (place, rows.get(place).map(|row| row.key.clone()).filter(|_| key.is_some()));
        (!rows.is_empty()).then_some(place)
    }

    fn key(&mut self, key: KeyEvent) -> Effect {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && key.code == KeyCode::Char('c') {
            return Effect::Quit;
        }
        if self.help {
            self.help = false;
            return Effect::None;
        }
        if self.editing {
            return self.edit(key.code);
        }
        if self.detail.is_some() {
            return self.read(key.code);
        }
        self.command(key.code)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "keys are crossterm's, and many")]
    fn edit(&mut self, code: KeyCode) -> Effect {
        match code {
            KeyCode::Char(c) => self.filter.push(c),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Enter => self.editing = false,
            KeyCode::Esc => (self.editing, self.filter) = (false, String::new()),
            _ => (),
        }
        Effect::None
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "keys are crossterm's, and many")]
    fn read(&mut self, code: KeyCode) -> Effect {
        let Some(detail) = &mut self.detail else { return Effect::None };
        let scroll = &mut detail.scroll;
        match code {
            KeyCode::Esc | KeyCode::Enter | KeyCode::Char('q') | KeyCode::Left => self.detail = None,
            KeyCode::Down | KeyCode::Char('j') => *scroll = scroll.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => *scroll = scroll.saturating_sub(1),
            KeyCode::PageDown | KeyCode::Char(' ') => *scroll = scroll.saturating_add(PAGE as u16),
            KeyCode::PageUp => *scroll = scroll.saturating_sub(PAGE as u16),
            KeyCode::Home => *scroll = 0,
            KeyCode::End => *scroll = u16::MAX,
            KeyCode::Char('p') => return self.pause(),
            KeyCode::Char('?') => self.help = true,
            _ => (),
        }
        Effect::None
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "keys are crossterm's, and many")]
    fn command(&mut self, code: KeyCode) -> Effect {
        match code {
            KeyCode::Char('q') => return Effect::Quit,
            KeyCode::Char('?' | 'h') => self.help = true,
            KeyCode::Char('p' | ' ') => return self.pause(),
            KeyCode::Char('/') => self.editing = true,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Tab | KeyCode::Right => self.turn(1),
            KeyCode::BackTab | KeyCode::Left => self.turn(Panel::ALL.len() - 1),
            KeyCode::Char(digit @ '1'..='3') => self.show(Panel::ALL[digit as usize - '1' as usize]),
            KeyCode::Char('s') => self.orders[self.panel as usize].next(self.panel),
            KeyCode::Char('r') => self.orders[self.panel as usize].turn(),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::PageDown => self.step(PAGE),
            KeyCode::PageUp => self.step(-PAGE),
            KeyCode::Home => self.step(isize::MIN),
            KeyCode::End => self.step(isize::MAX),
            KeyCode::Enter => return self.open(),
            _ => (),
        }
        Effect::None
    }

    fn pause(&mut self) -> Effect {
        self.paused = !self.paused;
        if self.paused {
            return Effect::None;
        }
        let mut effect = Effect::None;
        for news in std::mem::take(&mut self.waiting) {
            effect = self.news(news);
        }
        effect
    }

    fn turn(&mut self, by: usize) {
        self.show(Panel::ALL[(self.panel as usize + by) % Panel::ALL.len()]);
    }

    fn show(&mut self, panel: Panel) {
        (self.panel, self.selected) = (panel, (0, None));
    }

    fn step(&mut self, by: isize) {
        let rows = self.rows();
        let Some(place) = self.select(&rows) else { return };
        let place = place.saturating_add_signed(by).min(rows.len() - 1);
        self.selected = (place, Some(rows[place].key.clone()));
    }

    /// The selected connection's story; of a workload its diagnoses.
    fn open(&mut self) -> Effect {
        let rows = self.rows();
        let Some(row) = self.select(&rows).map(|place| &rows[place]) else { return Effect::None };
        if self.panel == Panel::Workloads {
            self.filter.clone_from(&row.key);
            self.show(Panel::Diagnoses);
            return Effect::None;
        }
        let Some(connection) = row.connection.clone() else { return Effect::None };
        self.detail = Some(Detail { connection: connection.clone(), report: None, scroll: 0 });
        Effect::Why(connection)
    }
}
