//! TCP's memory of the host against its limits.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Text};
use ratatui::widgets::Sparkline;

use super::{Model, TITLE, Theme};
use crate::answers::top::Memory;

/// Columns.
pub(super) const WIDTH: u16 = 24;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: Theme) {
    let Some(memory) = model.top.as_ref().and_then(|top| top.memory) else { return };
    let [head, curve, rest] =
        Layout::vertical([Constraint::Length(2), Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let style = if memory.under_pressure { theme.alarm() } else { Style::new() };
    let [_, pressure, high] = memory.limits;
    let limit = if high > 0 { format!(" of {}", mib(memory, high)) } else { String::new() };
    let used = format!("{}{limit} MiB", mib(memory, memory.pages));
    frame.render_widget(Text::from(vec![Line::styled("TCP MEMORY", TITLE), Line::styled(used, style)]), head);
    // The last minute, against what was most in it.
    let past: Vec<_> = model.past.iter().filter_map(|top| top.memory).map(|memory| memory.pages).collect();
    let shown = past.len().saturating_sub(usize::from(curve.width));
    frame.render_widget(Sparkline::default().data(past[shown..].iter().copied()), curve);
    let pressure_text = if memory.under_pressure {
        "UNDER PRESSURE".to_owned()
    } else if pressure > 0 {
        format!("pressure at {} MiB", mib(memory, pressure))
    } else {
        "no pressure".to_owned()
    };
    let limit = if memory.max_orphans > 0 { format!(" of {}", memory.max_orphans) } else { String::new() };
    let orphans = format!("orphans {}{limit}", memory.orphans);
    let waiting = format!("sockets {}, tw {}", memory.sockets, memory.time_wait);
    frame.render_widget(
        Text::from(vec![Line::styled(pressure_text, style), orphans.into(), waiting.into()]),
        rest,
    );
}

/// `12.3`
fn mib(memory: Memory, pages: u64) -> String {
    let mib = (pages * memory.page_size) as f64 / f64::from(1 << 20);
    if mib < 100.0 { format!("{mib:.1}") } else { format!("{mib:.0}") }
}
