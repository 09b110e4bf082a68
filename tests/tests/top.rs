//! `tcpwhy top` in a real terminal, with real trouble on the screen.

use std::net::SocketAddr;
use std::process::Command;

use tests::agent::{agent, program};
use tests::link::{Family, Loss, Pair};
use tests::tcp::{self, Connection};
use tests::terminal::Terminal;
use tests::{live, wait};

fn top(terminal: &Terminal, more: &str) {
    let socket = agent().socket().display().to_string();
    terminal.type_line(&format!("{} top --socket {socket} {more}; echo ended with $?", program().display()));
    terminal.wait_for("the screen", |screen| screen.contains("stalled of"));
}

/// The stage of a connection's stall, from its row.
fn stage(screen: &str, local: SocketAddr) -> Option<u32> {
    let row = screen.lines().find(|line| line.contains(&format!("{local} >")))?;
    let (_, stage) = row.split_once(" #")?;
    stage.split_whitespace().next()?.parse().ok()
}

#[test]
fn a_stalled_connection_shows_its_deadline_and_its_story() {
    let terminal = Terminal::start("a_stalled_connection_shows_its_deadline_and_its_story", 80, 24);
    live::insist(|| {
        let pair = Pair::without_probes();
        let connection = Connection::open(&pair, Family::V4);
        let local = connection.client_side.local;
        pair.server.drop_incoming(&Loss::all());
        tcp::send(&connection.client, 100);
        top(&terminal, &format!("--filter {local}"));
        // A stage may be over before the screen is drawn again.
        let screen = terminal.try_wait_for(|screen| stage(screen, local).is_some_and(|stage| stage >= 3))?;
        assert!(screen.contains("by tcp_retries2"), "no rule in\n{screen}");
        assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
        terminal.key("Enter");
        let story = terminal.wait_for("the story", |screen| screen.contains("Timeline"));
        assert!(story.contains(&local.to_string()), "{story}");
        terminal.key("End");
        terminal.wait_for("the advice", |screen| screen.contains("Advice"));
        terminal.key("Escape");
        terminal.wait_for("the table", |screen| screen.contains("[1 Stalled"));
        terminal.key("?");
        terminal.wait_for("the help", |screen| screen.contains("any key closes this"));
        terminal.key("q");
        terminal.key("q");
        terminal.wait_for("the end", |screen| screen.contains("ended with 0"));
        Ok(())
    });
}

#[test]
fn the_terminal_is_as_before_whatever_ends_it() {
    let terminal = Terminal::start("the_terminal_is_as_before_whatever_ends_it", 80, 24);
    let settings = terminal.settings();
    top(&terminal, "");
    assert!(terminal.is_alternate() && terminal.settings() != settings, "top did not take the terminal");
    let pid = terminal.child();
    Command::new("kill").args(["-TERM", &pid.to_string()]).status().expect("kill");
    terminal.wait_for("the end", |screen| screen.contains("ended with 0"));
    assert!(!terminal.is_alternate());
    assert_eq!(terminal.settings(), settings);
    top(&terminal, "");
    terminal.key("C-c");
    wait::until("the terminal is back", || terminal.settings() == settings);
}

#[test]
fn without_colour_no_colour_is_sent() {
    let terminal = Terminal::start("without_colour_no_colour_is_sent", 100, 30);
    terminal.type_line("export NO_COLOR=1");
    top(&terminal, "");
    // 39 is the terminal's own.
    let escapes = terminal.escapes().replace("\u{1b}[39m", "");
    assert!(!escapes.contains("\u{1b}[3") && escapes.contains("\u{1b}[1m"), "{escapes:?}");
    terminal.key("q");
}

#[test]
fn without_a_terminal_or_an_agent_it_says_so() {
    let run = |args: &[&str]| {
        let output = Command::new(program()).args(args).output().expect("run tcpwhy");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, printed) = run(&["top"]);
    assert_eq!(code, Some(1));
    assert!(printed.starts_with("tcpwhy: the standard output is no terminal"), "{printed}");
    let name = "without_a_terminal_or_an_agent_it_says_so";
    let terminal = Terminal::start(name, 120, 10);
    terminal.type_line(&format!("{} top --socket /run/no/such.sock", program().display()));
    let screen = terminal.wait_for("the error", |screen| screen.contains("no agent runs there"));
    assert!(screen.contains("connect to /run/no/such.sock"), "{screen}");
}
