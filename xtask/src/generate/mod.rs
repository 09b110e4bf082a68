//! Files that are made from the code: each part writes its files below a folder in target/, at the paths that they
//! have in the project; then they are compared with the project's and take their place.

mod btf;
mod changes;
mod recording;
mod texts;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::{report, workspace};

/// What is made in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Of the tables in the code: docs/metrics.md, the causes' index and alerts, golden texts, screens and pictures
    Texts,
    /// The dashboards of the chart
    Dashboards,
    /// deploy/kustomize, from the chart; fetches helm where it is missing
    Manifest,
    /// The stored BTF of kernels, from Debian's packages; fetches what is not in target/vm
    Btf,
    /// The recording that tests replay; as root, on this machine's kernel
    Recordings,
}

impl Part {
    /// In the order in which they are made.
    pub const ALL: &[Self] = &[Self::Texts, Self::Dashboards, Self::Manifest, Self::Btf, Self::Recordings];
    /// Those that need neither root nor the network.
    pub const USUAL: &[Self] = &[Self::Texts, Self::Dashboards];

    /// Writes the part's files below `folder`.
    fn write(self, folder: &Path) -> Result<()> {
        match self {
            Self::Texts => texts::write(folder),
            Self::Dashboards => texts::write_dashboards(folder),
            Self::Manifest => texts::write_manifest(folder),
            Self::Btf => btf::write(folder),
            Self::Recordings => recording::write(folder),
        }
    }

    /// Files of the project that the new ones replace under another name.
    fn replaced(self, folder: &Path) -> Result<Vec<String>> {
        match self {
            Self::Btf => btf::replaced(folder),
            Self::Texts | Self::Dashboards | Self::Manifest | Self::Recordings => Ok(Vec::new()),
        }
    }
}

/// Makes them, or with `check` says what would change. Whether nothing failed and, with `check`, nothing would.
pub fn run(parts: &[Part], check: bool) -> Result<bool> {
    let folder = workspace::target().join("generate");
    let mut changed = 0;
    for part in Part::ALL.iter().filter(|part| parts.contains(part)) {
        // Of an earlier run.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        part.write(&folder)?;
        let replaced = part.replaced(&folder)?;
        changed += changes::settle(&folder, &replaced, check)?;
    }
    if changed == 0 {
        report::status("Unchanged", "all is as the code has it");
    }
    Ok(!check || changed == 0)
}
