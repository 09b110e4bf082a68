//! A real terminal: tmux, with a shell in it, of the test's own.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::live::Silent;
use crate::wait;

/// How often the screen is looked at: each look starts a process.
const STEP: Duration = Duration::from_millis(50);

/// A terminal; it ends with the test.
#[derive(Debug)]
pub struct Terminal {
    name: String,
}

impl Terminal {
    /// One of `width` by `height` characters.
    pub fn start(test: &str, width: u16, height: u16) -> Self {
        let terminal = Self { name: format!("tcpwhy-{}-{test}", std::process::id()) };
        let (width, height) = (width.to_string(), height.to_string());
        let shell =
            ["new-session", "-d", "-x", &width, "-y", &height, "env", "PS1=$ ", "LC_ALL=C.UTF-8", "sh"];
        terminal.tmux(&shell);
        terminal.wait_for("a prompt", |screen| screen.starts_with('$'));
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.args(["-u", "-L", &self.name, "-f", "/dev/null"]).args(arguments).env_remove("TMUX");
        let output = command.output().unwrap_or_else(|error| panic!("run {command:?}: {error}"));
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Types a line and Enter.
    pub fn type_line(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.key("Enter");
    }

    /// Presses a key, by tmux's name.
    pub fn key(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// What it shows.
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// What it shows, with escape sequences for colour and weight.
    pub fn escapes(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// Waits for a screen for which `wanted` holds.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.within(wait::PATIENCE, &wanted).unwrap_or_else(|| panic!("no {what} in\n{}", self.screen()))
    }

    /// The same of what a timer is to cause, soon after its scene.
    pub fn try_wait_for(&self, wanted: impl Fn(&str) -> bool) -> Result<String, Silent> {
        self.within(wait::PATIENCE, &wanted).ok_or(Silent)
    }

    fn within(&self, patience: Duration, wanted: &dyn Fn(&str) -> bool) -> Option<String> {
        let end = Instant::now() + patience;
        loop {
            let screen = self.screen();
            if wanted(&screen) {
                return Some(screen);
            }
            if Instant::now() > end {
                return None;
            }
            thread::sleep(STEP);
        }
    }

    /// Whether a program has the alternate screen.
    pub fn is_alternate(&self) -> bool {
        self.ask("#{alternate_on}") == "1"
    }

    /// Its settings as `stty -g` has them.
    pub fn settings(&self) -> String {
        let device = fs::File::open(self.ask("#{pane_tty}")).expect("open the terminal's device");
        let output = Command::new("stty").arg("-g").stdin(device).output().expect("run stty");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The process that the shell runs.
    pub fn child(&self) -> u32 {
        let shell = self.ask("#{pane_pid}");
        let children = format!("/proc/{shell}/task/{shell}/children");
        wait::some("a program in the terminal", || {
            fs::read_to_string(&children).ok()?.split_whitespace().next()?.parse().ok()
        })
    }

    fn ask(&self, format: &str) -> String {
        self.tmux(&["display-message", "-p", format]).trim().to_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended.
        let mut command = Command::new("tmux");
        command.args(["-L", &self.name, "kill-server"]).stderr(Stdio::null());
        let _ = command.status();
    }
}
