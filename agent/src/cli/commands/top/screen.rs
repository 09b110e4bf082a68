//! The terminal while it is ours.

use std::{io, panic};

use ratatui::crossterm::{cursor, execute};
use ratatui::{DefaultTerminal, Frame};

/// Raw mode and the alternate screen; left when dropped, and before a panic is printed.
pub(super) struct Screen(DefaultTerminal);

impl Screen {
    pub(super) fn enter() -> io::Result<Self> {
        let screen = ratatui::try_init().map(Self)?;
        show_cursor_before_a_panic();
        Ok(screen)
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

/// ratatui's hook leaves the screen; the cursor it shows again only when the terminal is dropped, and a panic of
/// the shipped program drops nothing.
fn show_cursor_before_a_panic() {
    let next = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let _ = execute!(io::stdout(), cursor::Show);
        next(info);
    }));
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Leaves the alternate screen (xterm's 1049).
    const LEAVE: &str = "\x1b[?1049l";
    const HIDE: &str = "\x1b[?25l";
    const SHOW: &str = "\x1b[?25h";

    #[test]
    #[ignore = "what `a_panic_leaves_the_terminal_as_it_was` runs in a terminal"]
    fn panics_on_the_screen() {
        let mut screen = Screen::enter().expect("a terminal");
        screen.draw(|frame| frame.render_widget("half a picture", frame.area())).expect("draw");
        panic!("something is wrong");
    }

    #[test]
    fn a_panic_leaves_the_terminal_as_it_was() {
        let myself = std::env::current_exe().expect("this program");
        let test = "cli::commands::top::screen::tests::panics_on_the_screen";
        let run = format!("{} --ignored --exact --nocapture {test}", myself.display());
        let shell = format!("stty cols 80 rows 24; stty -g; {run}; echo; stty -g");
        let output = Command::new("script").args(["-qec", &shell, "/dev/null"]).output().expect("run script");
        let shown = String::from_utf8_lossy(&output.stdout);
        let (before, after) = shown.split_once(LEAVE).unwrap_or_else(|| panic!("never left: {shown}"));
        let (drawn, hidden) = before.split_once(HIDE).unwrap_or_else(|| panic!("never hid: {shown}"));
        assert!(drawn.contains("picture") && hidden.contains(SHOW), "{shown}");
        assert!(after.contains("something is wrong"), "printed where nobody sees it: {shown}");
        let settings: Vec<_> = shown.lines().map(str::trim).filter(|line| line.contains(":0:0:")).collect();
        assert_eq!(settings.len(), 2, "{shown}");
        assert_eq!(settings[0], settings[1], "{shown}");
    }
}
