//! The terminal while it is ours.

use std::io;

use ratatui::{DefaultTerminal, Frame};

/// Raw mode and the alternate screen; left when dropped, and by ratatui's hook before a panic is told.
pub(super) struct Screen(DefaultTerminal);

impl Screen {
    pub(super) fn enter() -> io::Result<Self> {
        ratatui::try_init().map(Self)
    }

    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.0.draw(draw).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs no care.
        let _ = ratatui::try_restore();
    }
}
