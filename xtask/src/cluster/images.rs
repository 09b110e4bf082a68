//! Images of the cluster: the agent's, and one of busybox for everything else.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::artifact;
use crate::image::{self, Platform, Profile, Request};

/// The agent's name in the manifests, as a container runtime completes it.
const AGENT: &str = concat!("docker.io/library/tcpwhy:", env!("CARGO_PKG_VERSION"));
/// The pods' own; `up.sh` and the story name it too.
const OTHERS: &str = "localhost/busybox:1";

/// Builds them, and leaves the program as a plugin of kubectl.
pub fn ensure(dir: &Path) -> Result<[PathBuf; 2]> {
    let [agent, others] = ["agent.tar", "busybox.tar"].map(|name| dir.join(name));
    let request = Request {
        platforms: vec![Platform::host()],
        name: AGENT.to_owned(),
        profile: Profile::Release,
        output: agent.clone(),
    };
    request.write()?;
    image::write_busybox(OTHERS, &dir.join("bin/busybox"), &others)?;
    let plugin = dir.join("bin/kubectl-tcpwhy");
    fs::copy(artifact::tcpwhy()?, &plugin).with_context(|| format!("copy {}", plugin.display()))?;
    Ok([agent, others])
}
