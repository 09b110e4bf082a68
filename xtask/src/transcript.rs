//! Following a program's output while it runs.

use std::io::{self, BufRead as _, BufReader, PipeReader};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// How long the output of an ended program may still trickle in.
const GRACE: Duration = Duration::from_secs(1);

/// Runs `command`, passes its output on and shows each line to `see`. Both streams come through one
/// pipe, so that a test program's lines stay behind cargo's line that names it.
pub fn follow(mut command: Command, mut see: impl FnMut(&str)) -> Result<ExitStatus> {
    let (reader, writer) = io::pipe().context("create a pipe")?;
    command.stdout(writer.try_clone().context("share a pipe")?).stderr(writer);
    let mut child = command.spawn().context("start cargo")?;
    // This process's ends: the pipe has to close with the program.
    drop(command);
    let lines = lines_of(reader);
    while let Some(line) = next_line(&lines, &mut child) {
        println!("{line}");
        see(&line);
    }
    child.wait().context("wait for cargo")
}

/// A thread's reading, since a program that a test left behind may keep the pipe open for ever.
fn lines_of(reader: PipeReader) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let lines = BufReader::new(reader).split(b'\n').map_while(Result::ok);
        for line in lines {
            // The receiver has gone: nobody wants the rest.
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// None at the end of the output, or when the program has ended and a while has passed in silence.
fn next_line(lines: &Receiver<String>, child: &mut Child) -> Option<String> {
    loop {
        let ended = matches!(child.try_wait(), Ok(Some(_)) | Err(_));
        match lines.recv_timeout(GRACE) {
            Ok(line) => return Some(line),
            Err(RecvTimeoutError::Timeout) if !ended => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::follow;

    fn shell(script: &str) -> (Vec<String>, Option<i32>) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let mut lines = Vec::new();
        let status = follow(command, |line| lines.push(line.to_owned())).unwrap();
        (lines, status.code())
    }

    #[test]
    fn both_streams_arrive_in_order() {
        let (lines, code) = shell("echo a; echo b >&2; echo c; exit 3");
        assert_eq!(lines, ["a", "b", "c"]);
        assert_eq!(code, Some(3));
    }

    #[test]
    fn a_program_left_behind_does_not_hold_up() {
        let start = Instant::now();
        let (lines, code) = shell("sleep 20 & echo done");
        assert_eq!((lines.as_slice(), code), (&["done".to_owned()][..], Some(0)));
        assert!(start.elapsed() < Duration::from_secs(15));
    }
}
