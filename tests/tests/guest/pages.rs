//! The commands of the pages about limits of the whole host, run as they stand there.

use std::process::{Command, Stdio};

use tests::agent::Agent;
use tests::agent::event::Event;

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

/// Runs a page's commands between its namespaces, and waits for its cause to be said with `fact` as evidence. What is
/// said first may be of the setting before: the agent reads limits once a second at most.
fn reproduce(agent: &Agent, page: &str, cause: &str, fact: &str) {
    let _limits = LIMITS.map(Setting::keep);
    let tail = agent.follow("show=diagnoses");
    sh(commands(INDEX, "## Two namespaces"));
    // What runs on in the background would be seen by the next test.
    sh(&format!("{}\nwait", commands(page, "## Reproduce")));
    let says = |event: &Event| event.find("/evidence").is_some_and(|all| all.to_string().contains(fact));
    tail.wait_for(&format!("{cause} with {fact:?}"), |event| {
        event.name() == "diagnosis" && event.text("/cause") == cause && says(event)
    });
    sh("ip netns del cl; ip netns del sv");
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
            "tcp_mem is 1000 2990 3000: above high",
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
        reproduce(&agent, page, cause, fact);
    }
}
