//! The panel's table, and more of the selected row below it.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Paragraph, Row as Cells, Table, TableState, Wrap};

use super::{FAINT, Model, Panel, SELECTED, TITLE, Theme};
use crate::cli::commands::top::table;
use crate::cli::commands::top::table::{Column, Order, Row};

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, summary: Rect, model: &mut Model, theme: Theme) {
    let rows = model.rows();
    let selected = model.select(&rows);
    if rows.is_empty() {
        return frame.render_widget(Line::styled(nothing(model), FAINT), area);
    }
    let columns = table::columns(model.panel);
    let shown: Vec<_> = (0..columns.len()).filter(|&n| columns[n].from <= area.width).collect();
    let titles = shown.iter().map(|&n| title(&columns[n], n, model.order()));
    let body = rows.iter().map(|row| cells(row, columns, &shown).style(theme.phase(row.phase)));
    let widths = shown.iter().map(|&n| match columns[n].width {
        0 => Constraint::Fill(1),
        width => Constraint::Length(width),
    });
    let widget =
        Table::new(body, widths).header(Cells::new(titles).style(TITLE)).row_highlight_style(SELECTED);
    frame.render_stateful_widget(widget, area, &mut TableState::new().with_selected(selected));
    let more = selected.map_or("", |place| &rows[place].text);
    frame.render_widget(Paragraph::new(more.to_owned()).wrap(Wrap { trim: true }), summary);
}

/// The column that rows are sorted by has an arrow.
fn title(column: &Column, place: usize, order: Order) -> Text<'static> {
    let arrow = match (order.column == place, order.descending) {
        (false, _) => "",
        (true, true) => "↓",
        (true, false) => "↑",
    };
    aligned(format!("{}{arrow}", column.title), column)
}

fn cells(row: &Row, columns: &[Column], shown: &[usize]) -> Cells<'static> {
    Cells::new(shown.iter().map(|&n| aligned(fit(&row.cells[n].0, columns[n].width), &columns[n])))
}

/// What a column of fixed width cannot hold ends in dots.
fn fit(text: &str, width: u16) -> String {
    let width = usize::from(width);
    if width == 0 || text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

fn aligned(text: String, column: &Column) -> Text<'static> {
    let side = if column.right { Alignment::Right } else { Alignment::Left };
    Text::from(text).alignment(side)
}

fn nothing(model: &Model) -> &'static str {
    match model.panel {
        _ if !model.filter.is_empty() => "no row holds the filter's text: Esc clears it",
        Panel::Stalled => "no connection waits for a silent peer",
        Panel::Diagnoses => "no diagnosis yet",
        Panel::Workloads => "no connection with trouble is remembered",
    }
}
