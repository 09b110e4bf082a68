//! What the keys do.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::widgets::{Block, Padding, Paragraph};

use super::{TITLE, popup};

const HELP: &str = "\
1 2 3, Tab     stalled connections, diagnoses, workloads
up down        select a row; also j k, PgUp PgDn, Home End
Enter          why: the story of the connection
               (of a workload: its diagnoses)
Esc            back; clear the filter
s              sort by the next column
r              reverse the order
/              show only rows that hold a text
p, space       pause: the screen stands still
q, Ctrl-C      quit

GIVES UP  until the kernel ends the connection, if its
          peer stays silent; `never` if nothing ends it
STAGE     timeouts without an answer so far
RTO       what the timer is armed for
RATIO     payload sent again by payload sent";

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect) {
    let area = popup(frame, area, 62, 20);
    let block = Block::bordered().title(" tcpwhy top: any key closes this ").padding(Padding::horizontal(1));
    frame.render_widget(Paragraph::new(HELP).block(block.title_style(TITLE)), area);
}
