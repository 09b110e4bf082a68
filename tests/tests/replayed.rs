//! A recording of the running agent replays to the very bytes that its readers got. That it gives the same metrics too
//! is for a machine on which nothing else happens: `guest/replayed.rs`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::agent::command::{self, Running};
use tests::agent::{Agent, folder, program};
use tests::link::{Family, Pair};
use tests::scenes::{death, reset, retransmit};
use tests::wait;

/// A path for a recording of this process's own.
fn file(name: &str) -> String {
    let path: PathBuf = folder().join(format!("{name}.rec"));
    path.into_os_string().into_string().expect("a path of plain text")
}

/// Follows an agent; it has answered when this returns.
fn tail(agent: &Agent, readers: u64, more: &[&str]) -> Running {
    let socket = agent.socket().to_str().expect("a path of plain text");
    let running = Running::start(&[&["tail", "--socket", socket], more].concat());
    let status = || serde_json::from_str::<Value>(&agent.query("/v1/status")).expect("JSON");
    wait::until("the agent to have a reader more", || status()["readers"] == readers);
    running
}

fn replay(more: &[&str]) -> String {
    let output = command::run(&[&["replay"], more].concat());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("lines of UTF-8")
}

fn assert_same(live: &[String], replayed: &str, what: &str) {
    let replayed: Vec<_> = replayed.lines().collect();
    for (at, (live, replayed)) in live.iter().zip(&replayed).enumerate() {
        assert_eq!(live, replayed, "line {at} of {what}");
    }
    assert_eq!(live.len(), replayed.len(), "lines of {what}");
    assert!(live.len() > 10, "{live:#?}");
}

/// Resets of both kinds, a stall that recovers, deaths by a timer, and one that is held back to be judged.
fn scenes(pair: &Pair) {
    reset::no_socket(pair, Family::V4);
    reset::abort_on_close(pair, Family::V6, 1000);
    reset::data_after_shutdown(pair, Family::V4);
    reset::time_wait(pair, Family::V6);
    retransmit::timeouts(pair, Family::V4, 2);
    retransmit::zero_window(pair, Family::V6, 2);
    retransmit::synack(pair, Family::V4);
    death::connect(pair, Family::V4, 1);
    pair.server.pass();
    death::user_timeout(pair, Family::V6, Duration::from_millis(500));
}

#[test]
fn an_agents_recording_replays_to_the_same_bytes() {
    let file = file("agent");
    let agent = Agent::start("replayed", &["--record", &file, "--history", "5"]);
    let pair = Pair::without_probes();
    let netns = format!("{},{}", pair.client.inode(), pair.server.inode());
    let json = ["-o", "json", "--netns", &netns];
    let text = ["--netns", &netns];
    let diagnoses = ["-o", "json", "--diagnoses", "--netns", &netns];
    let forms = [&json[..], &text, &diagnoses];
    let tails: Vec<_> = (1..).zip(forms).map(|(readers, form)| tail(&agent, readers, form)).collect();
    scenes(&pair);
    drop(pair);
    assert!(agent.end().success());
    for (tail, form) in tails.into_iter().zip(forms) {
        assert_same(&tail.rest(), &replay(&[form, &[&file]].concat()), &form.join(" "));
    }
}

#[test]
fn a_full_disk_ends_the_recording_and_not_the_agent() {
    let (folder, mut command) = (folder().join("full"), Command::new("unshare"));
    std::fs::create_dir_all(&folder).expect("create a folder");
    // Room for the header and little more.
    command.args(["--mount", "sh", "-c", "mount -t tmpfs -o size=4k none \"$0\" && exec \"$@\""]);
    command.arg(&folder).arg(program()).args(["agent", "--record"]).arg(folder.join("it.rec"));
    let agent = Agent::start_by("full", command);
    let pair = Pair::new();
    // More than fits.
    wait::until("the disk to be full", || {
        reset::burst(&pair, Family::V4, 100);
        agent.said("No space left on device")
    });
    assert!(agent.said("the recording ends here: write "), "it names the file");
    let resets = agent.metrics().count("tcpwhy_resets_sent_total", &[("reason", "NO_SOCKET")]);
    reset::no_socket(&pair, Family::V4);
    wait::until("the agent to go on counting", || {
        agent.metrics().count("tcpwhy_resets_sent_total", &[("reason", "NO_SOCKET")]) > resets
    });
    assert!(agent.end().success());
}
