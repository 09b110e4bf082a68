//! The demo says of each scene what it must, and its recording says it again.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use tests::agent::{command, folder, program};
use tests::demo::ACTS;
use tests::live::{Silent, insist};

/// What the demo prints, and whether all scenes were seen.
fn play(file: &str) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.args(["--record", file, "--overwrite"]).env("TCPWHY_BIN", program()).stdin(Stdio::null());
    let output = command.output().expect("start the demo");
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    (output.status.success(), String::from_utf8(output.stdout).expect("text"))
}

/// How the demo's last line begins.
const HINT: &str = "    tcpwhy ";

/// What the demo's end says to run next.
const NEXT: &str = "    cargo xtask run";

/// The agent's lines, without the demo's own.
fn lines(text: &str) -> Vec<&str> {
    let own = |line: &str| line.starts_with('#') || line.starts_with(HINT) || line == NEXT || line.is_empty();
    text.lines().filter(|line| !own(line)).collect()
}

/// The command that the last line is, in words.
fn hint(text: &str) -> Vec<&str> {
    let (_, hint) = text.rsplit_once(HINT).expect("how to replay it");
    hint.split_whitespace().collect()
}

#[test]
fn every_scene_is_printed_and_replays() {
    let file: PathBuf = folder().join("demo.rec");
    let file = file.to_str().expect("a path of plain text");
    insist(|| {
        let (is_complete, text) = play(file);
        if !is_complete {
            return Err(Silent);
        }
        assert_printed_and_replayed(&text);
        Ok(())
    });
}

fn assert_printed_and_replayed(text: &str) {
    for act in &ACTS {
        let (_, scene) = text.split_once(act.title).expect("its heading");
        let scene = scene.split_once("\n\n").map_or(scene, |(scene, _)| scene);
        for word in act.says {
            let is_said = lines(scene).into_iter().any(|line| line.contains(word));
            assert!(is_said, "no {word:?} in {scene}");
        }
    }
    let replay = command::run(&hint(text));
    assert!(replay.status.success(), "{replay:?}");
    let replayed = String::from_utf8(replay.stdout).expect("text");
    // The recording begins before the first scene, and a namespace's number may have been another's until then.
    let (live, mut replayed) = (lines(text), lines(&replayed));
    let before = replayed.iter().skip(1).take_while(|line| Some(*line) != live.get(1)).count();
    replayed.drain(1..=before);
    assert_eq!(live, replayed);
}
