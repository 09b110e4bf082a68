//! The commands of the pages about limits of the whole host, run as they stand there.

use std::process::{Command, Stdio};

use tests::agent::Agent;

use crate::{Alone, Setting};

const INDEX: &str = include_str!("../../../docs/causes/README.md");

/// What the pages change.
const LIMITS: [&str; 2] = ["/proc/sys/net/ipv4/tcp_mem", "/proc/sys/net/ipv4/tcp_max_orphans"];

/// What a reader copies from below a heading.
fn commands<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, rest) = page.split_once(heading).unwrap_or_else(|| panic!("no {heading:?}"));
    let (_, rest) = rest.split_once("```sh\n").unwrap_or_else(|| panic!("no commands below {heading:?}"));
    rest.split_once("```").expect("an end of the commands").0
}

/// The guest's shell is busybox's, which prefers an `ip` of its own to any other.
const IP: &str = "ip() { /bin/ip \"$@\"; }";

fn sh(script: &str) {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{IP}\n{script}")]).stdin(Stdio::null()).stdout(Stdio::null());
    command.status().expect("run a shell");
}

/// Runs a page's commands between its namespaces; the evidence of what was said of its cause.
fn reproduce(agent: &Agent, page: &str, cause: &str) -> String {
    let _limits = LIMITS.map(Setting::keep);
    let tail = agent.follow("show=diagnoses");
    sh(commands(INDEX, "## Two namespaces"));
    // What runs on in the background would be seen by the next test.
    sh(&format!("{}\nwait", commands(page, "## Reproduce")));
    let diagnosis =
        tail.wait_for(cause, |event| event.name() == "diagnosis" && event.text("/cause") == cause);
    sh("ip netns del cl; ip netns del sv");
    diagnosis.find("/evidence").expect("evidence").to_string()
}

#[test]
fn the_pages_of_limits_of_the_host_are_true() {
    let test = "the_pages_of_limits_of_the_host_are_true";
    // Each page takes ten seconds.
    let Some(agent) = Alone::on(test, &["latest"]) else { return };
    for (cause, page, fact) in [
        (
            "out_of_tcp_memory",
            include_str!("../../../docs/causes/out_of_tcp_memory.md"),
            "tcp_mem is 50 100 150: above high",
        ),
        (
            "memory_pressure",
            include_str!("../../../docs/causes/memory_pressure.md"),
            "tcp_mem is 50 100 20000: under pressure, and this socket has more than its share",
        ),
        (
            "cgroup_memory_limit",
            include_str!("../../../docs/causes/cgroup_memory_limit.md"),
            "the limit of /small is 16.0 MiB",
        ),
        (
            "too_many_orphans",
            include_str!("../../../docs/causes/too_many_orphans.md"),
            " of 1 (tcp_max_orphans)",
        ),
    ] {
        let evidence = reproduce(&agent, page, cause);
        assert!(evidence.contains(fact), "{cause}: no {fact:?} in {evidence}");
    }
}
