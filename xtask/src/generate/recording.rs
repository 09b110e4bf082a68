//! The recording that `agent/tests/replay.rs` replays: the test that causes its events keeps it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::texts;
use crate::{artifact, process, report, workspace};

const FILE: &str = "agent/tests/data/trouble.rec";
const TEST: &str = "a_recording_replays_what_happened";

pub fn write(folder: &Path) -> Result<()> {
    let file = folder.join(FILE);
    let parent = file.parent().context("the recording has a folder")?;
    fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    let mut build = process::cargo();
    build.args(["test", "--no-run", "--package", "tests", "--test", "record", "--bin", "lab-actor"]);
    let messages = artifact::messages(build, "the test that records")?;
    let test = artifact::executable(&messages, "record").context("cargo named no test program")?;
    // Through env, since sudo drops most of ours.
    let mut command = process::as_root("env")?;
    command.arg(format!("PATH={}", workspace::search_path()?.display()));
    command.arg(format!("TCPWHY_BIN={}", artifact::tcpwhy()?.display()));
    command.arg(format!("TCPWHY_KEEP_RECORDING={}", file.display()));
    command.arg(test).args(["--exact", TEST]);
    texts::run(command)
        .inspect_err(|_| report::note("Note", "the recording is kept only of a test that passes"))
}
