//! One connection's story, as `tcpwhy why` prints it.

use agent_model::escape::Escaped;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Text};
use ratatui::widgets::Paragraph;

use super::{Model, TITLE};
use crate::cli::commands::why::text;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &mut Model) {
    let Some(detail) = &mut model.detail else { return };
    let page = match &detail.report {
        Some(Ok(report)) => text::page(report, usize::from(area.width), false),
        Some(Err(error)) => format!("{}\n", Escaped(error)),
        None => format!("asking the agent why connection {} ...\n", Escaped(&detail.connection)),
    };
    let lines: Vec<_> = page.lines().map(styled).collect();
    let most = (lines.len() as u16).saturating_sub(area.height);
    detail.scroll = detail.scroll.min(most);
    frame.render_widget(Paragraph::new(Text::from(lines)).scroll((detail.scroll, 0)), area);
}

/// Titles are what is not indented.
fn styled(line: &str) -> Line<'static> {
    let style = if line.starts_with(' ') { ratatui::style::Style::new() } else { TITLE };
    Line::styled(line.to_owned(), style)
}
