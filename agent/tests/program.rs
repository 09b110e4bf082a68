//! The program as a user meets it: exit codes and what it says.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::{fs, thread};

fn tcpwhy(args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpwhy"));
    command.args(args).envs(variables.iter().copied()).stdin(Stdio::null());
    command.output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("tcpwhy-program-{name}-{}", std::process::id()))
}

#[test]
fn a_bad_variable_is_named_with_its_flag() {
    let output = tcpwhy(&["agent"], &[("TCPWHY_LISTEN", "everywhere")]);
    let text = errors(&output);
    assert_eq!(output.status.code(), Some(64));
    assert!(
        text.contains("'everywhere' for '--listen <ADDRESS>'") && text.contains("variable TCPWHY_LISTEN"),
        "{text}"
    );
}

#[test]
fn a_bad_flag_is_not_blamed_on_the_environment() {
    let output = tcpwhy(&["agent", "--listen=nowhere"], &[("TCPWHY_LISTEN", "127.0.0.1:0")]);
    assert_eq!(output.status.code(), Some(64));
    assert!(!errors(&output).contains("variable"), "{}", errors(&output));
}

#[test]
fn help_is_no_error() {
    let output = tcpwhy(&["tail", "--help"], &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("tcpwhy tail --standalone"));
}

#[test]
fn without_an_agent_tail_fails_with_one_line() {
    let output = tcpwhy(&["tail", "--socket", "/nonexistent/tcpwhy.sock"], &[]);
    let text = errors(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.starts_with("tcpwhy: connect to /nonexistent/tcpwhy.sock: no agent runs there"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn a_file_in_the_sockets_place_is_left_alone() {
    let path = scratch("file");
    fs::write(&path, "precious").unwrap();
    let output = tcpwhy(&["agent", "--listen", "127.0.0.1:0", "--socket", path.to_str().unwrap()], &[]);
    let text = errors(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("the file is not a socket, choose another path with --socket"), "{text}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(path).unwrap();
}

/// Answers one request with a stream that stays open and silent.
fn silent_agent(name: &str) -> PathBuf {
    let path = scratch(name);
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
        thread::park();
    });
    path
}

#[test]
fn a_closed_pipe_ends_a_silent_tail_with_0() {
    let path = silent_agent("pipe");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpwhy"));
    let mut tail = command.args(["tail", "--socket"]).arg(&path).stdout(Stdio::piped()).spawn().unwrap();
    drop(tail.stdout.take());
    assert_eq!(tail.wait().unwrap().code(), Some(0));
    fs::remove_file(path).unwrap();
}

#[test]
fn ctrl_c_ends_a_tail_with_0() {
    let path = silent_agent("signal");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpwhy"));
    let mut tail = command.args(["tail", "--socket"]).arg(&path).stdout(Stdio::piped()).spawn().unwrap();
    // The header says that the signals are taken care of.
    let mut header = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(tail.stdout.as_mut().unwrap()), &mut header)
        .unwrap();
    let kill = Command::new("kill").args(["-INT", &tail.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(tail.wait().unwrap().code(), Some(0));
    fs::remove_file(path).unwrap();
}
