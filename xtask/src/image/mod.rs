//! The container image: one static program in an otherwise empty file system, written as an OCI archive without
//! a container engine. The same sources give the same bytes.

mod layer;
mod layout;
mod platform;
pub mod program;
mod sbom;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context as _, Result};

use self::layer::Layer;
use self::layout::{About, Command, Image, Layout};
pub use self::platform::Platform;
pub use self::program::Profile;
use crate::process::capture;
use crate::{report, workspace};

/// In the image; `kubectl exec` finds it by `PATH`.
const PROGRAM: &str = "usr/bin/tcpwhy";
const COMMAND: Command = Command { entrypoint: &["/usr/bin/tcpwhy"], arguments: &["agent"] };
/// Where scanners look for what an image is made of.
const DOCUMENTS: &str = "usr/share/doc/tcpwhy";
const LICENCES: [&str; 3] = ["LICENSE-APACHE", "LICENSE-GPL2", "LICENSE-MIT"];

/// An image to be written.
#[derive(Debug)]
pub struct Request {
    /// What it is for; more than one make an image of many platforms.
    pub platforms: Vec<Platform>,
    /// `REPOSITORY:TAG`.
    pub name: String,
    /// How the program is compiled.
    pub profile: Profile,
    /// The archive.
    pub output: PathBuf,
}

impl Request {
    /// The name that the chart asks for if nobody says otherwise.
    pub fn usual_name() -> String {
        format!("tcpwhy:{}", env!("CARGO_PKG_VERSION"))
    }

    /// Below target/.
    pub fn usual_output() -> PathBuf {
        workspace::target().join("image/tcpwhy.tar")
    }

    /// Builds the program for each platform and writes the archive.
    pub fn write(&self) -> Result<()> {
        let epoch = epoch()?;
        let mut images = Vec::new();
        for &platform in &self.platforms {
            let program = program::build(platform, self.profile)?;
            let layer = layer(&program, &sbom::of(platform)?, epoch)?;
            images.push(Image { platform, layer, command: COMMAND });
        }
        save(&images, &self.name, epoch, &self.output)
    }
}

fn save(images: &[Image], name: &str, epoch: u64, output: &Path) -> Result<()> {
    let layout = Layout::new(images, &About { name, epoch });
    let failed = || format!("write {}", output.display());
    let folder = output.parent().context("an archive has a folder")?;
    fs::create_dir_all(folder).with_context(failed)?;
    // A reader sees the whole of it or the one before.
    let partial = output.with_extension("part");
    layout.write(File::create(&partial).with_context(failed)?).with_context(failed)?;
    fs::rename(&partial, output).with_context(failed)?;
    report::status("Wrote", format_args!("{} as {name}", output.display()));
    report::status("Digest", layout.digest());
    Ok(())
}

/// An image of busybox alone, which sleeps: pods of the cluster that tests make are of it.
pub fn write_busybox(name: &str, busybox: &Path, output: &Path) -> Result<()> {
    let program = fs::read(busybox).with_context(|| format!("read {}", busybox.display()))?;
    let mut layer = Layer::new(0);
    for folder in ["bin", "dev", "etc", "proc", "run", "sys"] {
        layer.folder(folder)?;
    }
    layer.program("bin/busybox", &program)?;
    let command = Command { entrypoint: &["/bin/busybox"], arguments: &["sleep", "infinity"] };
    let image = Image { platform: Platform::host(), layer: layer.finish()?, command };
    save(&[image], name, 0, output)
}

/// The image that tests run: of this machine's platform, quickly built.
pub fn for_tests() -> Result<PathBuf> {
    let output = workspace::target().join("image/tests.tar");
    let (platforms, name, profile) = (vec![Platform::host()], Request::usual_name(), Profile::Release);
    Request { platforms, name, profile, output: output.clone() }.write()?;
    Ok(output)
}

fn layer(program: &Path, sbom: &str, epoch: u64) -> Result<Vec<u8>> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    let mut layer = Layer::new(epoch);
    // Mounted over; a read-only root cannot make them.
    for folder in ["dev", "proc", "run", "run/tcpwhy", "sys", "usr", "usr/bin", "usr/share", "usr/share/doc"]
    {
        layer.folder(folder)?;
    }
    layer.program(PROGRAM, &read(program)?)?;
    layer.folder(DOCUMENTS)?;
    for licence in LICENCES {
        layer.file(&format!("{DOCUMENTS}/{licence}"), &read(&workspace::root().join(licence))?)?;
    }
    layer.file(&format!("{DOCUMENTS}/tcpwhy.cdx.json"), sbom.as_bytes())?;
    layer.finish().context("write the layer")
}

/// Seconds since 1970 that all is dated by: `SOURCE_DATE_EPOCH`
/// (<https://reproducible-builds.org/specs/source-date-epoch/>), or else the commit's time; 1970 outside git.
fn epoch() -> Result<u64> {
    if let Ok(given) = std::env::var("SOURCE_DATE_EPOCH") {
        return given.parse().context("SOURCE_DATE_EPOCH is no number of seconds");
    }
    let mut git = process::Command::new("git");
    let shown = capture(git.current_dir(workspace::root()).args(["log", "-1", "--format=%ct"]));
    Ok(shown.ok().and_then(|text| String::from_utf8(text).ok()?.trim().parse().ok()).unwrap_or(0))
}
