//! The standard output, on a thread of its own: a terminal that stands still must not hold up anybody who
//! waits for Ctrl-C.

use std::io::{self, Write};
use std::thread;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

/// Texts that may wait for the terminal.
const WAITING: usize = 64;

/// Writes texts in order.
#[derive(Debug)]
pub(super) struct Printer {
    texts: mpsc::Sender<String>,
    ended: oneshot::Receiver<io::Result<()>>,
}

/// Nobody takes any more texts; [`Printer::finish`] knows why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

impl Printer {
    /// To the standard output.
    pub(super) fn stdout() -> Self {
        Self::new(io::stdout())
    }

    pub(super) fn new(to: impl Write + Send + 'static) -> Self {
        let (texts, receiver) = mpsc::channel(WAITING);
        let (sender, ended) = oneshot::channel();
        thread::spawn(move || {
            // The receiver may be gone.
            let _ = sender.send(write_all(to, receiver));
        });
        Self { texts, ended }
    }

    /// Hands a text over; waits while too many wait already.
    pub(super) async fn print(&self, text: String) -> Result<(), Closed> {
        if text.is_empty() {
            return Ok(());
        }
        self.texts.send(text).await.map_err(|_| Closed)
    }

    /// Waits until all is written.
    pub(super) async fn finish(self) -> io::Result<()> {
        let Self { texts, ended } = self;
        drop(texts);
        ended.await.unwrap_or_else(|_| Err(io::Error::other("the printing thread panicked")))
    }
}

/// Writes what is there in one piece.
fn write_all(mut to: impl Write, mut texts: mpsc::Receiver<String>) -> io::Result<()> {
    let mut waiting = Vec::with_capacity(WAITING);
    while texts.blocking_recv_many(&mut waiting, WAITING) > 0 {
        to.write_all(waiting.concat().as_bytes())?;
        to.flush()?;
        waiting.clear();
    }
    Ok(())
}

/// A reader that goes is an end like any other.
pub(super) fn end(result: anyhow::Result<()>) -> anyhow::Result<()> {
    let is_gone = |error: &anyhow::Error| {
        error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    result.or_else(|error| if is_gone(&error) { Ok(()) } else { Err(error) })
}

/// Waits until nobody reads the standard output any more, though nothing be written to it; for ever where
/// that can't be seen (a file).
pub(super) async fn stdout_closed() {
    // SAFETY: nobody closes the standard output while the program runs.
    let stdout = unsafe { AsyncFd::register_with_interest(io::stdout(), Interest::ERROR) };
    let Ok(stdout) = stdout else { return std::future::pending().await };
    if stdout.ready(Interest::ERROR).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Whether escape sequences are wanted: a terminal, and neither `NO_COLOR` nor `CLICOLOR=0`; or
/// `CLICOLOR_FORCE`.
pub(super) fn colour() -> bool {
    anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that went away.
    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_closed_pipe_ends_the_printing_and_is_no_failure() {
        let printer = Printer::new(Gone);
        while printer.print("x".to_owned()).await.is_ok() {}
        end(printer.finish().await.map_err(Into::into)).unwrap();
    }

    #[tokio::test]
    async fn all_is_written_before_the_end() {
        let (mut reader, writer) = io::pipe().unwrap();
        let printer = Printer::new(writer);
        for text in ["a\n", "", "b\n"] {
            printer.print(text.to_owned()).await.unwrap();
        }
        printer.finish().await.unwrap();
        assert_eq!(io::read_to_string(&mut reader).unwrap(), "a\nb\n");
    }
}
