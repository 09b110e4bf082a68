//! What ails this host, by cause.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Text};

use super::{FAINT, Model, TITLE, Theme};
use crate::answers::top::CauseCount;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: Theme) {
    let causes = model.top.as_ref().map_or(&[][..], |top| &top.overview.causes);
    let title = format!("{:<24}{:>8}{:>13}{:>8}", "CAUSE", "STALLED", "IN A MINUTE", "ENDED");
    let mut text = Text::from(Line::styled(title, TITLE));
    let room = usize::from(area.height.saturating_sub(1));
    let shown = if causes.len() > room { room.saturating_sub(1) } else { causes.len() };
    text.extend(causes.iter().take(shown).map(|count| cause(model, *count, theme)));
    if causes.len() > shown {
        text.push_line(Line::styled(format!("and {} more causes", causes.len() - shown), FAINT));
    }
    if causes.is_empty() {
        text.push_line("no connection has stalled or died by trouble since the agent started");
    }
    frame.render_widget(text, area);
}

fn cause<'a>(model: &Model, count: CauseCount, theme: Theme) -> Line<'a> {
    let CauseCount { cause, stalled, deaths } = count;
    let lately = model.lately(cause);
    let line = Line::from(format!("{cause:<24}{stalled:>8}{lately:>13}{deaths:>8}"));
    if lately > 0 {
        line.style(theme.phase(Some(agent_diagnose::Phase::Died)))
    } else if stalled > 0 {
        line.style(theme.phase(Some(agent_diagnose::Phase::Stalled)))
    } else {
        line
    }
}
