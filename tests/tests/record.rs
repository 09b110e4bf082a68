//! What is recorded replays as it happened.

use std::env;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tests::agent::command::{self, Running};
use tests::agent::event::Event;
use tests::link::{Family, Pair};
use tests::live::{self, named};
use tests::scenes::{reset, retransmit};
use tests::wait;
use tests::witness::Witnesses;

/// `tcpwhy record` of both hosts of a pair; it has attached when this returns.
fn record(pair: &Pair, file: &str) -> Running {
    let netns = format!("{},{}", pair.client.inode(), pair.server.inode());
    let running = Running::start(&["record", "--overwrite", "--netns", &netns, file]);
    wait::until("the recording to start", || fs::metadata(file).is_ok_and(|file| file.len() > 0));
    running
}

fn end(recording: Running) -> String {
    recording.signal(Signal::SIGINT);
    let (status, errors) = recording.end();
    assert!(status.success(), "{errors}");
    errors
}

fn replay(file: &str) -> Vec<Event> {
    let output = command::run(&["replay", "-o", "json", file]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("lines of UTF-8").lines().map(Event::parse).collect()
}

/// A name of this test's own. `TCPWHY_KEEP_RECORDING` names where the recording of `agent/tests/replay.rs`
/// is to be made anew, after a change of the records.
fn file(name: &str) -> String {
    let own = || env::temp_dir().join(format!("tcpwhy-{name}-{}.rec", std::process::id()));
    let path = env::var_os("TCPWHY_KEEP_RECORDING").map_or_else(own, PathBuf::from);
    // Left behind by another process of that number.
    let _ = fs::remove_file(&path);
    path.into_os_string().into_string().expect("a path of plain text")
}

fn clear(file: &str) {
    if env::var_os("TCPWHY_KEEP_RECORDING").is_none() {
        fs::remove_file(file).expect("remove a recording");
    }
}

#[test]
fn a_recording_replays_what_happened() {
    let (pair, file) = (Pair::without_probes(), file("scenes"));
    let recording = record(&pair, &file);
    let witnesses = Witnesses::of(&[recording.pid()]);
    witnesses.insist(&live::name(), || scenes_replay(&pair, &file, recording));
    clear(&file);
}

fn scenes_replay(pair: &Pair, file: &str, recording: Running) {
    let refused = reset::no_socket(pair, Family::V4);
    let resent = retransmit::timeouts(pair, Family::V4, 2);
    let aborted = reset::abort_on_close(pair, Family::V6, 1000);
    let printed = end(recording);
    assert!(printed.contains("lost: 0 on the way from the kernel, 0 on the way to the file"), "{printed}");
    let events = replay(file);
    for reset in [&refused, &aborted] {
        let sent: Vec<_> = events.iter().filter(|event| event.is("reset_sent", reset.sender)).collect();
        assert_eq!(sent.len(), 1, "{sent:#?}");
        assert_eq!(sent[0].text("/reset/reason"), reset.reason);
    }
    let resends = named(&events, "retransmit");
    assert_eq!(resends.len() as u64, resent.total());
    assert!(resends.iter().all(|event| event.is_of(resent.side)), "{resends:#?}");
    let foreign = |event: &&Event| {
        !event.netns().is_some_and(|it| [pair.client.inode(), pair.server.inode()].contains(&it))
    };
    assert_eq!(events.iter().filter(foreign).count(), 0);
    assert_metrics(file, resent.total());
}

/// The kernel's exact counters are in the recording too.
fn assert_metrics(file: &str, resends: u64) {
    let output = command::run(&["replay", "--metrics", file]);
    let page = String::from_utf8(output.stdout).expect("a page of UTF-8");
    let timeouts: u64 = page
        .lines()
        .filter(|line| line.starts_with("tcpwhy_retransmits_total{") && line.contains("kind=\"timeout\""))
        .map(|line| line.rsplit_once(' ').expect("a value").1.parse::<u64>().expect("a number"))
        .sum();
    assert_eq!(timeouts, resends, "{page}");
}

#[test]
fn a_recorder_that_is_killed_leaves_what_it_wrote() {
    let (pair, file) = (Pair::new(), file("killed"));
    let recording = record(&pair, &file);
    let refused = reset::no_socket(&pair, Family::V4);
    let is_written = || {
        String::from_utf8_lossy(&command::run(&["replay", "-o", "json", &file]).stdout).contains("reset_sent")
    };
    wait::until("the reset to be written", is_written);
    recording.signal(Signal::SIGKILL);
    let _ = recording.end();
    let output = command::run(&["replay", "-o", "json", &file]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("without the mark of its end"), "{output:?}");
    let lines = String::from_utf8(output.stdout).expect("lines of UTF-8");
    assert!(lines.lines().map(Event::parse).any(|event| event.is("reset_sent", refused.sender)));
    clear(&file);
}

#[test]
fn a_full_disk_ends_the_recording_with_its_name() {
    let full = OpenOptions::new().write(true).open("/dev/full").expect("open /dev/full");
    let output = command::run_into(&["record", "--duration", "5s", "-"], full);
    assert_eq!(output.status.code(), Some(1));
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(printed.contains("write -: No space left on device"), "{printed}");
}

/// A user of the host that called no sudo.
const NEIGHBOUR: u32 = 54_321;

/// Another user prepares a place where root is to record.
#[test]
fn a_recording_goes_nowhere_that_another_user_prepared() {
    let folder = env::temp_dir().join(format!("tcpwhy-prepared-{}", std::process::id()));
    let theirs = folder.join("theirs");
    fs::create_dir_all(&theirs).expect("make folders");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o1777)).expect("let everybody write");
    let [shadow, link, fifo, old] = ["shadow", "link", "fifo", "old"].map(|name| folder.join(name));
    fs::write(&shadow, "secret").expect("write a file of root's");
    symlink(&shadow, &link).expect("make a link");
    mkfifo(&fifo, Mode::from_bits_truncate(0o666)).expect("make a FIFO");
    fs::write(&old, "theirs").expect("write a file of theirs");
    for path in [&theirs, &old] {
        chown(path, Some(NEIGHBOUR), None).expect("give it to them");
    }
    for (path, words) in [
        (&link, "is a symbolic link"),
        (&fifo, "is not a regular file"),
        (&old, "belongs to another user"),
        (&theirs.join("new"), "belongs to another user"),
    ] {
        refuses_to_record(path, words);
    }
    assert_eq!(fs::read_to_string(&shadow).expect("read it again"), "secret");
    assert_eq!(fs::read_to_string(&old).expect("read it again"), "theirs");
    fs::remove_dir_all(&folder).expect("remove folders");
}

fn refuses_to_record(path: &Path, words: &str) {
    let name = path.to_str().expect("a path of plain text");
    let running = Running::start(&["record", "--overwrite", "--duration", "1s", name]);
    let (status, errors) = running.end();
    assert_eq!(status.code(), Some(1), "{errors}");
    assert!(errors.contains(words), "{name}: {errors}");
}
