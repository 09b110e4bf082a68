//! `tcpwhy top`

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use jiff::Timestamp;
use ratatui::crossterm::event;
use tokio::sync::mpsc;

use self::model::{Effect, Message, Model};
use self::screen::Screen;
use self::view::Theme;
use crate::cli::flags::paths;
use crate::cli::printer;
use crate::cli::signals::Signals;

mod model;
mod screen;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod view;

/// Messages that may wait for the screen; whoever sends more waits.
const WAITING: usize = 256;
/// How often the countdowns move.
const TICK: Duration = Duration::from_millis(250);

/// Watch this host on a full screen: causes, stalled connections and when they end, whose they are.
///
/// Asks the agent of this host. A connection that is stalled shows the time until the kernel gives it up if
/// its peer stays silent. Of workloads the ratio is payload sent again by payload sent, on connections that
/// had trouble. Press ? for the keys.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  tcpwhy top                                      the agent of this host
  tcpwhy top --filter nginx                       only rows that hold this text
  NO_COLOR=1 tcpwhy top                           without colour
  kubectl exec -it POD -- tcpwhy top              on a node of a cluster

Exit status: 0 left by q or Ctrl-C, 1 no agent or no terminal, 64 wrong usage.")]
pub(in crate::cli) struct Top {
    /// Show only rows that hold this text.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    filter: String,
    /// Time between two looks at the agent, from 100ms to 1min.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// The agent's socket [default: /run/tcpwhy/tcpwhy.sock, or below `XDG_RUNTIME_DIR`].
    #[arg(long, value_name = "PATH", env = "TCPWHY_SOCKET")]
    socket: Option<PathBuf>,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = crate::cli::flags::attach::age(text)?;
    let range = Duration::from_millis(100)..=Duration::from_mins(1);
    if range.contains(&interval) { Ok(interval) } else { Err("not from 100ms to 1min".to_owned()) }
}

impl Top {
    /// Asks the agent before it takes the screen: what fails, fails in a line.
    pub(in crate::cli) async fn run(self) -> anyhow::Result<()> {
        if !io::stdout().is_terminal() {
            bail!(
                "the standard output is no terminal, which top draws on: use `tcpwhy tail`, or `kubectl exec` \
                 with -it"
            );
        }
        let signals = Signals::new()?;
        let socket = self.socket.unwrap_or_else(paths::for_reader);
        let first = source::overview(&socket).await?;
        let (messages, inbox) = mpsc::channel(WAITING);
        let source = source::Source { socket, interval: self.interval, messages: messages.clone() };
        let mut model = Model::new(self.filter, Timestamp::now());
        model.apply(Message::Top(Box::new(first)));
        let screen = Screen::enter().context("take over the terminal")?;
        source.start();
        std::thread::spawn(move || read_keys(&messages));
        run(screen, model, &source, inbox, signals).await
    }
}

/// Until the terminal or the program is gone.
fn read_keys(messages: &mpsc::Sender<Message>) {
    loop {
        let message = match event::read() {
            Ok(event::Event::Key(key)) => Message::Key(key),
            // A new size: to be drawn anew.
            Ok(_) => Message::Tick(Timestamp::now()),
            Err(error) => Message::Gone(error),
        };
        let gone = matches!(message, Message::Gone(_));
        if messages.blocking_send(message).is_err() || gone {
            return;
        }
    }
}

async fn run(
    mut screen: Screen,
    mut model: Model,
    source: &source::Source,
    mut inbox: mpsc::Receiver<Message>,
    mut signals: Signals,
) -> anyhow::Result<()> {
    let theme = Theme { colour: printer::colour() };
    let mut tick = tokio::time::interval(TICK);
    loop {
        screen.draw(|frame| view::draw(frame, &mut model, theme)).context("draw on the terminal")?;
        let message = tokio::select! {
            () = signals.next() => return Ok(()),
            _ = tick.tick() => Message::Tick(Timestamp::now()),
            message = inbox.recv() => message.context("wait for the agent and the keys")?,
        };
        match model.apply(message) {
            Effect::None => (),
            Effect::Why(connection) => source.ask(connection),
            Effect::Quit => return Ok(()),
            Effect::Gone(error) => return Err(error).context("read the keys"),
        }
    }
}
