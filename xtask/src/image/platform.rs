//! What a program can be built for.

use std::str::FromStr;

use anyhow::bail;

/// A processor, by the names that its users have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// x86-64.
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

impl Platform {
    /// This machine's.
    pub fn host() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Arm64 } else { Self::Amd64 }
    }

    /// As in an image's configuration (Go's `GOARCH`).
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Rust's name for it. musl where this very program is of musl: what links here links there.
    pub fn target(self) -> &'static str {
        match (self, cfg!(target_env = "musl")) {
            (Self::Amd64, false) => "x86_64-unknown-linux-gnu",
            (Self::Amd64, true) => "x86_64-unknown-linux-musl",
            (Self::Arm64, false) => "aarch64-unknown-linux-gnu",
            (Self::Arm64, true) => "aarch64-unknown-linux-musl",
        }
    }

    /// gcc's name for it.
    pub fn gcc(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-linux-gnu",
            Self::Arm64 => "aarch64-linux-gnu",
        }
    }
}

impl FromStr for Platform {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        let all = [Self::Amd64, Self::Arm64];
        match all.into_iter().find(|platform| platform.name() == name) {
            Some(platform) => Ok(platform),
            None => bail!("neither amd64 nor arm64"),
        }
    }
}
