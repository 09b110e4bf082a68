//! Everything that is asked of the host, beside its answer to the programs.

use std::fs;

use agent_source::kernel::{KERNEL_BTF, facts};
use schemars::JsonSchema;
use serde::Serialize;
use serde_with::skip_serializing_none;

use super::place::Surrounding;
use super::privileges::Privileges;

/// What runs here, with which rights, and where.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Surroundings {
    /// The kernel.
    pub kernel: KernelFacts,
    /// This process's rights.
    pub privileges: Privileges,
    /// Where it runs.
    pub place: Surrounding,
}

/// The kernel and its settings.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct KernelFacts {
    /// `uname -r`.
    pub release: String,
    /// The machine that this program was built for.
    pub arch: &'static str,
    /// Timer interrupts a second.
    pub hz: Option<u32>,
    /// Bytes of its BTF.
    pub btf_bytes: Option<u64>,
    /// Programs are compiled (`net.core.bpf_jit_enable`), unless only the initial network namespace tells.
    pub jit: Option<bool>,
    /// The run time of programs is measured (`kernel.bpf_stats_enabled`).
    pub run_times: Option<bool>,
    /// `none`, `integrity` or `confidentiality`, where the kernel can be locked down.
    pub lockdown: Option<String>,
}

impl Surroundings {
    /// Those of this process.
    pub fn here() -> Self {
        Self { kernel: KernelFacts::here(), privileges: Privileges::here(), place: Surrounding::here() }
    }
}

impl KernelFacts {
    fn here() -> Self {
        Self {
            release: facts::release(),
            arch: std::env::consts::ARCH,
            hz: facts::hz().ok(),
            btf_bytes: fs::metadata(KERNEL_BTF).ok().map(|file| file.len()),
            jit: is_on("/proc/sys/net/core/bpf_jit_enable"),
            run_times: is_on("/proc/sys/kernel/bpf_stats_enabled"),
            lockdown: read("/sys/kernel/security/lockdown").and_then(|text| chosen(&text)),
        }
    }
}

/// A file's text; none if it is not there or not for this process to read.
pub(super) fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn is_on(sysctl: &str) -> Option<bool> {
    Some(read(sysctl)?.trim() != "0")
}

/// The word in brackets of `[none] integrity confidentiality`.
fn chosen(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_word_in_brackets_is_chosen() {
        assert_eq!(super::chosen("none [integrity] confidentiality\n").as_deref(), Some("integrity"));
        assert_eq!(super::chosen("none"), None);
    }
}
