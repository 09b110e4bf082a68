//! The backoff as a curve of characters: one row a timeout, the farther right the later.

use std::fmt::{self, Formatter};
use std::time::Duration;

use agent_model::timers::schedule::Schedule;

use super::text::time;

/// Characters of the curve; with the numbers before it a row has 80.
const WIDTH: usize = 54;

/// Draws a schedule; the last row is where the kernel gives up.
pub(super) fn draw(f: &mut Formatter<'_>, schedule: &Schedule) -> fmt::Result {
    let Some(end) = schedule.steps.last().map(|step| step.elapsed) else { return Ok(()) };
    let (half, end_text) = (time(end / 2), time(end));
    writeln!(
        f,
        "\n     n         RTO    0{half:^width$}{end_text}",
        width = WIDTH - 1 - end_text.chars().count()
    )?;
    let mut before = Duration::ZERO;
    for (place, step) in schedule.steps.iter().enumerate() {
        let last = place + 1 == schedule.steps.len();
        let (from, to) = (column(before, end), column(step.elapsed, end));
        let mark = if last { 'X' } else { '*' };
        let wait = "-".repeat(to.saturating_sub(from));
        writeln!(f, "  {:>4} {:>11}    {}{wait}{mark}", step.n, time(step.rto), " ".repeat(from))?;
        before = step.elapsed;
    }
    writeln!(f, "\n* sends again, X gives up, after {}", time(end))
}

fn column(at: Duration, end: Duration) -> usize {
    (at.as_secs_f64() / end.as_secs_f64() * (WIDTH - 1) as f64).round() as usize
}
