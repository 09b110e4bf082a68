//! The report for people: one screen.

use std::fmt::Write as _;

use agent_model::escape::Escaped;
use anstyle::{AnsiColor, Style};

use super::place::{Cgroups, Runtime, Surrounding};
use super::privileges::Privileges;
use super::report::{CheckReport, Finding, Level, ProbeReport, State, Verdict};
use super::surroundings::KernelFacts;

const GOOD: Style = AnsiColor::Green.on_default().bold();
const DOUBTFUL: Style = AnsiColor::Yellow.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// The whole page.
pub fn page(report: &CheckReport, colour: bool) -> String {
    let mut page = CheckText { text: String::new(), colour };
    page.verdict(report.verdict);
    let surroundings = &report.surroundings;
    page.row("kernel", &kernel(&surroundings.kernel));
    page.row("rights", &privileges(&surroundings.privileges));
    page.row("place", &place(&surroundings.place));
    page.probes(&report.probes);
    page.findings(&report.findings);
    page.text
}

struct CheckText {
    text: String,
    colour: bool,
}

impl CheckText {
    fn paint(&self, style: Style, text: &str) -> String {
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    fn line(&mut self, text: &str) {
        self.text += text.trim_end();
        self.text.push('\n');
    }

    fn verdict(&mut self, verdict: Verdict) {
        let (style, words) = match verdict {
            Verdict::Ready => (GOOD, "ready: everything works here"),
            Verdict::Degraded => (DOUBTFUL, "degraded: works here, with losses"),
            Verdict::Unable => (BAD, "unable: tcpwhy cannot run here"),
        };
        let words = self.paint(style, words);
        self.line(&words);
    }

    fn row(&mut self, name: &str, text: &str) {
        self.line(&format!("{name:<8} {text}"));
    }

    fn probes(&mut self, probes: &[ProbeReport]) {
        if probes.is_empty() {
            return;
        }
        self.line("");
        self.line(&format!("{:<20} {:<14} {:>8}  {}", "PROBE", "STATE", "VERIFIED", "HOOK"));
        for probe in probes {
            let (style, word) = state(probe.state);
            let word = self.paint(style, &format!("{word:<14}"));
            let verified = probe.instructions.map_or("-".to_owned(), |count| count.to_string());
            self.line(&format!("{:<20} {word} {verified:>8}  {}", probe.name, probe.hook));
            if let Some(error) = &probe.error {
                self.line(&format!("    why: {}", Escaped(error)));
            }
            for lost in &probe.lost {
                self.line(&format!("    lost: {lost}"));
            }
        }
    }

    fn findings(&mut self, findings: &[Finding]) {
        if !findings.is_empty() {
            self.line("");
        }
        for Finding { level, what, advice } in findings {
            let (style, word) = match level {
                Level::Fatal => (BAD, "fatal"),
                Level::Loss => (DOUBTFUL, "loss"),
                Level::Note => (Style::new(), "note"),
            };
            let word = self.paint(style, word);
            self.line(&format!("{word}: {}", Escaped(what)));
            for advice in advice {
                self.line(&format!("    do: {advice}"));
            }
        }
    }
}

fn state(state: State) -> (Style, &'static str) {
    match state {
        State::Up => (GOOD, "up"),
        State::Degraded => (DOUBTFUL, "degraded"),
        State::Missing => (DOUBTFUL, "missing"),
        State::Refused => (BAD, "refused"),
        State::NotPermitted => (BAD, "not permitted"),
    }
}

fn kernel(kernel: &KernelFacts) -> String {
    let KernelFacts { release, arch, hz, btf_bytes, jit, run_times, lockdown } = kernel;
    let mut text = format!("Linux {} on {arch}", Escaped(release));
    if let Some(hz) = hz {
        let _ = write!(text, ", HZ {hz}");
    }
    let _ = match btf_bytes {
        Some(bytes) => write!(text, ", BTF {} KiB", bytes / 1024),
        None => write!(text, ", no BTF"),
    };
    for (name, is_on) in [("JIT", jit), ("run times", run_times)] {
        if let Some(is_on) = is_on {
            let _ = write!(text, ", {name} {}", if *is_on { "on" } else { "off" });
        }
    }
    if let Some(lockdown) = lockdown {
        let _ = write!(text, ", lockdown {}", Escaped(lockdown));
    }
    text
}

fn privileges(privileges: &Privileges) -> String {
    let Privileges { cap_bpf, cap_perfmon, cap_syslog, .. } = *privileges;
    let capabilities = [(cap_bpf, "CAP_BPF"), (cap_perfmon, "CAP_PERFMON"), (cap_syslog, "CAP_SYSLOG")];
    let words = capabilities.map(|(has, name)| format!("{}{name}", if has { "" } else { "no " }));
    let mut text = words.join(", ");
    text += if privileges.symbols { ", kernel symbols" } else { ", no kernel symbols" };
    if privileges.seccomp {
        text += ", under a seccomp filter";
    }
    if !privileges.initial_user_namespace {
        text += ", in a user namespace";
    }
    text
}

fn place(place: &Surrounding) -> String {
    let container = match place.container {
        None => "the host",
        Some(Runtime::Docker) => "a container of Docker",
        Some(Runtime::Containerd) => "a container of containerd",
        Some(Runtime::CriO) => "a container of CRI-O",
        Some(Runtime::Podman) => "a container of Podman",
        Some(Runtime::Unknown) => "a container",
    };
    let pod = if place.pod { " in a pod" } else { "" };
    let pids = if place.host_pids { "the host's process ids" } else { "process ids of its own" };
    let cgroups = match place.cgroups {
        Cgroups::V2 => "cgroup v2",
        Cgroups::Hybrid => "cgroup v1 and v2 (hybrid)",
        Cgroups::V1 => "cgroup v1",
    };
    format!("{container}{pod}, {pids}, {cgroups}")
}
