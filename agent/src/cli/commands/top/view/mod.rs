//! From the model to the screen.

use agent_diagnose::Phase;
use agent_model::escape::Escaped;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph};

use super::model::{Model, Panel};

mod causes;
mod detail;
mod help;
mod memory;
mod table;

/// Smaller screens show nothing but the wish for a larger one.
const LEAST: (u16, u16) = (40, 8);
/// Rows of causes, title included, where there is room.
const CAUSES: u16 = 6;
/// Screens with fewer rows do without the causes.
const CAUSES_FROM: u16 = 16;
/// Rows below the table with more about the selected row.
const SUMMARY: u16 = 2;

/// Titles and alarms.
const TITLE: Style = Style::new().add_modifier(Modifier::BOLD);
/// What is as it should be, or only explains.
const FAINT: Style = Style::new().add_modifier(Modifier::DIM);
/// The selected row.
const SELECTED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// How things are marked: by colour, or without it by weight alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    pub(super) colour: bool,
}

impl Theme {
    fn alarm(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn phase(self, phase: Option<Phase>) -> Style {
        match phase {
            Some(Phase::Died) => self.coloured(Color::Red),
            Some(Phase::Stalled) => self.coloured(Color::Yellow),
            Some(Phase::Recovered) => self.coloured(Color::Green),
            None => Style::new(),
        }
    }

    fn coloured(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }
}

/// Draws everything; the model learns which row is selected and how far a story can be scrolled.
pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model, theme: Theme) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        return frame.render_widget(Paragraph::new("make this terminal larger, or q to quit"), area);
    }
    let causes = if area.height < CAUSES_FROM { 0 } else { CAUSES };
    let [head, top, rest, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(causes),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(header(model, theme), head);
    let [left, right] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(memory::WIDTH)]).areas(top);
    causes::draw(frame, left, model, theme);
    memory::draw(frame, right, model, theme);
    if model.detail.is_some() {
        detail::draw(frame, rest, model);
    } else {
        main(frame, rest, model, theme);
    }
    frame.render_widget(keys(model), foot);
    if model.help {
        help::draw(frame, area);
    }
}

fn header<'a>(model: &Model, theme: Theme) -> Line<'a> {
    let mut line = Line::from(Span::styled("tcpwhy top", TITLE));
    if let Some(top) = &model.top {
        let seen = top.overview.connections;
        let time = model.now.strftime("%H:%M:%S");
        line.push_span(format!(
            "  {time} UTC  {} stalled of {} live, {} dead",
            seen.stalled, seen.live, seen.dead
        ));
        line.push_span(lost(top.lost.iter().filter(|(_, count)| **count > 0), theme));
    }
    if model.paused {
        line.push_span(Span::styled("  PAUSED", SELECTED));
    }
    if let Some(error) = &model.down {
        line.push_span(Span::styled(format!("  {}", Escaped(error)), theme.alarm()));
    }
    let coalesced = model.top.as_ref().map_or(0, |top| top.coalesced);
    if coalesced > 0 {
        line.push_span(Span::styled(format!("  {coalesced} merged"), FAINT));
    }
    line
}

fn lost<'a>(lost: impl Iterator<Item = (&'a String, &'a u64)>, theme: Theme) -> Span<'static> {
    let places: Vec<_> = lost.map(|(place, count)| format!("{} {count}", Escaped(place))).collect();
    if places.is_empty() {
        return Span::styled("  nothing lost", FAINT);
    }
    Span::styled(format!("  LOST: {}", places.join(", ")), theme.alarm())
}

fn main(frame: &mut Frame<'_>, area: Rect, model: &mut Model, theme: Theme) {
    let [tabs, rows, summary] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(SUMMARY)])
            .areas(area);
    frame.render_widget(panels(model), tabs);
    table::draw(frame, rows, summary, model, theme);
}

fn panels<'a>(model: &Model) -> Line<'a> {
    let overview = model.top.as_ref().map(|top| &top.overview);
    let stalled = overview.map_or(0, |seen| seen.connections.stalled);
    let workloads = overview.map_or(0, |seen| seen.workloads.len());
    let mut line = Line::default();
    for (panel, title) in Panel::ALL.into_iter().zip([
        format!("1 Stalled {stalled}"),
        format!("2 Diagnoses {}", model.diagnoses.len()),
        format!("3 Workloads {workloads}"),
    ]) {
        // Without colour the brackets mark it.
        let (text, style) =
            if panel == model.panel { (format!("[{title}]"), TITLE) } else { (format!(" {title} "), FAINT) };
        line.push_span(Span::styled(text, style));
        line.push_span(" ");
    }
    if model.editing || !model.filter.is_empty() {
        let cursor = if model.editing { "_" } else { "" };
        line.push_span(Span::styled(format!(" filter: {}{cursor}", Escaped(&model.filter)), TITLE));
    }
    line
}

fn keys<'a>(model: &Model) -> Line<'a> {
    let keys = if model.editing {
        "type to filter   Enter keep   Esc clear"
    } else if model.detail.is_some() {
        "Esc back   arrows scroll   p pause   ? help"
    } else {
        "q quit  ? help  Tab panel  Enter why  s sort  r reverse  / filter  p pause"
    };
    Line::styled(keys, FAINT)
}

/// A box over the middle of the screen.
fn popup(frame: &mut Frame<'_>, area: Rect, width: u16, height: u16) -> Rect {
    let area = area.centered(Constraint::Max(width), Constraint::Max(height));
    frame.render_widget(Clear, area);
    area
}
