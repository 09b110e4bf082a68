//! Where the scenes are played.

use std::env;
use std::io::{self, IsTerminal as _, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigHandler, Signal, signal};

use super::acts::{ACTS, AFTERMATH, Act, Left};
use crate::agent::Agent;
use crate::agent::command::Running;
use crate::link::Pair;
use crate::wait::PATIENCE;

/// Without a line for this long, a scene that said what it must is over.
const QUIET: Duration = Duration::from_millis(400);

/// How often the stage checks whether somebody wants it to end.
const GLANCE: Duration = Duration::from_millis(50);

/// Width of the demo's own lines.
const WIDTH: usize = 100;

/// Ctrl-C, or the service manager's wish.
static ENDING: AtomicBool = AtomicBool::new(false);

extern "C" fn end(_: libc::c_int) {
    ENDING.store(true, Ordering::Relaxed);
}

/// How the demo went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Play {
    /// Every scene had its answer.
    Done,
    /// Somebody wished for an end.
    Ended,
    /// As many scenes had not.
    Failed(usize),
}

/// Plays all scenes with an agent of their own, which gets these arguments more. The demo's own lines begin
/// with `#`; all others are the agent's.
pub fn play(to: &mut impl Write, more: &[&str]) -> io::Result<Play> {
    for wish in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler only stores.
        unsafe { signal(wish, SigHandler::Handler(end)) }.expect("listen for signals");
    }
    let agent = Agent::start("demo", more);
    let hosts: Vec<Pair> = ACTS.iter().map(|act| (act.hosts)()).collect();
    let netns = hosts.iter().flat_map(|pair| [pair.client.inode(), pair.server.inode()]);
    let netns = netns.map(|inode| inode.to_string()).collect::<Vec<_>>().join(",");
    let socket = agent.socket().to_str().expect("a path of plain text");
    let colour = colour().then_some(("CLICOLOR_FORCE", "1"));
    let tail =
        Running::start_with(&["tail", "--no-listeners", "--socket", socket, "--netns", &netns], colour);
    writeln!(to, "{}", tail.wait_for("header", |line| line.contains("TIME")))?;
    let result = Stage { to, tail: &tail, left: Vec::new() }.acts(hosts);
    // Before what the scenes left open ends: that is no part of the show.
    assert!(agent.end().success(), "the agent ends well");
    let (play, _left) = result?;
    for line in tail.rest() {
        writeln!(to, "{line}")?;
    }
    if play == Play::Ended {
        return Ok(play);
    }
    write_own(
        to,
        "Each of these causes has its page in docs/causes. For what happens on this machine itself:",
    )?;
    writeln!(to, "    cargo xtask run")?;
    if let ["--record", file, ..] = more {
        write_own(to, "To see these lines again:")?;
        // On one line, to be copied.
        writeln!(to, "    tcpwhy replay --no-listeners --netns {netns} {file}")?;
    }
    Ok(play)
}

struct Stage<'a, W> {
    to: &'a mut W,
    tail: &'a Running,
    left: Vec<Left>,
}

impl<W: Write> Stage<'_, W> {
    /// All scenes; what they left open is kept, so that its end is no event of a later one.
    fn acts(mut self, hosts: Vec<Pair>) -> io::Result<(Play, Vec<Left>)> {
        let mut failed = 0;
        for (number, (act, pair)) in (1..).zip(ACTS.iter().zip(hosts)) {
            write_heading(self.to, number, act)?;
            match self.act(act, pair)? {
                _ if ENDING.load(Ordering::Relaxed) => return Ok((Play::Ended, self.left)),
                true => (),
                false => failed += 1,
            }
        }
        Ok((if failed == 0 { Play::Done } else { Play::Failed(failed) }, self.left))
    }

    /// Whether the agent said what it must.
    fn act(&mut self, act: &'static Act, pair: Pair) -> io::Result<bool> {
        let (sender, over) = mpsc::channel();
        // Not joined: a scene that hangs is left behind.
        thread::spawn(move || {
            let left = catch_unwind(AssertUnwindSafe(|| (act.play)(&pair)));
            let _ = sender.send(left.map(|left| Box::new((left, pair)) as Left));
        });
        let said = self.follow(act, &over)?;
        if !said.is_empty() && !ENDING.load(Ordering::Relaxed) {
            write_own(self.to, &format!("Not told here: {}.", said.join(", ")))?;
        }
        Ok(said.is_empty())
    }

    /// Hands on lines until the scene is over and no more come; what the agent did not say.
    fn follow(&mut self, act: &Act, over: &Receiver<thread::Result<Left>>) -> io::Result<Vec<&'static str>> {
        let mut wanted = act.says.to_vec();
        let (mut is_over, mut last) = (None, Instant::now());
        let begun = Instant::now();
        while !ENDING.load(Ordering::Relaxed) && begun.elapsed() < 2 * PATIENCE {
            if let Some(line) = self.tail.next_within(GLANCE) {
                writeln!(self.to, "{line}")?;
                self.to.flush()?;
                if wanted.first().is_some_and(|word| line.contains(word)) {
                    wanted.remove(0);
                }
                last = Instant::now();
            }
            match over.try_recv() {
                Ok(Ok(left)) => {
                    self.left.push(left);
                    is_over = Some(Instant::now());
                }
                Ok(Err(_)) => break,
                Err(_) => (),
            }
            let enough = if wanted.is_empty() { QUIET } else { AFTERMATH };
            if is_over.is_some_and(|over| over.elapsed() > enough && last.elapsed() > enough) {
                break;
            }
        }
        Ok(wanted)
    }
}

fn write_heading(to: &mut impl Write, number: usize, act: &Act) -> io::Result<()> {
    writeln!(to)?;
    let title = format!("# {number}. {}", act.title);
    writeln!(to, "{}", if colour() { format!("\x1b[1m{title}\x1b[0m") } else { title })?;
    write_own(to, &format!("What happens: {}", act.happens))?;
    write_own(to, &format!("Look for: {}", act.look))?;
    to.flush()
}

/// Whether escape sequences are wanted.
fn colour() -> bool {
    io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none()
}

/// A line of the demo's own, wrapped.
fn write_own(to: &mut impl Write, text: &str) -> io::Result<()> {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() > 1 && line.len() + 1 + word.len() > WIDTH {
            writeln!(to, "{line}")?;
            line.truncate(1);
        }
        line.push(' ');
        line.push_str(word);
    }
    writeln!(to, "{line}")
}
