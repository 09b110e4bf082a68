use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use crate::image::{Platform, Profile, Request};
use crate::setup::{self, Purpose};

/// Write the container image as an OCI archive; no container engine is needed
///
/// An otherwise empty file system with the static program, its licences and a bill of materials (CycloneDX).
/// The same sources and compiler give the same bytes; all is dated by `SOURCE_DATE_EPOCH`, or else by the commit.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask image
  cargo xtask image --platform amd64,arm64 --name registry.example/tcpwhy:0.1.0
  skopeo copy oci-archive:target/image/tcpwhy.tar docker://registry.example/tcpwhy:0.1.0
  ctr --namespace k8s.io images import target/image/tcpwhy.tar")]
pub struct Image {
    /// What it is for; amd64 and arm64 can be had.
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = Platform::host().name())]
    platform: Vec<Platform>,
    /// What it is called once it is loaded.
    #[arg(long, value_name = "REPOSITORY:TAG", default_value_t = Request::usual_name())]
    name: String,
    /// How the program is compiled; `release` takes a quarter of the time.
    #[arg(long, value_enum, default_value = "dist")]
    profile: Profile,
    /// The archive.
    #[arg(short, long, value_name = "FILE", default_value_os_t = Request::usual_output())]
    output: PathBuf,
}

impl Image {
    pub fn run(self) -> Result<ExitCode> {
        let Self { platform: platforms, name, profile, output } = self;
        setup::prepare(Purpose::Build)?;
        Request { platforms, name, profile, output }.write()?;
        Ok(ExitCode::SUCCESS)
    }
}
