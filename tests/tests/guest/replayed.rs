//! A recording of the running agent replays to the metrics that it had. They are the whole host's, so nothing may
//! happen beside the test.

use std::thread;
use std::time::Duration;

use tests::agent::{Agent, command, folder};
use tests::link::{Family, Pair};
use tests::scenes::{reset, retransmit};
use tests::wait;

use crate::Alone;

/// Families of the live agent alone, which are in no recording, those of the host at the moment, and packets dropped:
/// whoever asks for the page leaves some, as the kernel purges his connection's queues.
const LIVE: [&str; 13] = [
    "packets_dropped",
    "tail_missed",
    "snmp_difference",
    "probe_up",
    "names_up",
    "ebpf_run",
    "ebpf_runs",
    "ebpf_misses",
    "tcp_memory",
    "sockets",
    "orphans_limit",
    "netstat",
    "kernel_log_lines",
];

/// Longer than what is yet to come of the scenes takes: records on their way, and the walk that a stall asks for.
const AFTERMATH: Duration = Duration::from_secs(3);

/// The page without what is of the live agent alone.
fn recorded(page: &str) -> Vec<String> {
    let series = |line: &str| {
        let name = line.trim_start_matches("# TYPE ").trim_start_matches("# HELP ");
        name.trim_start_matches("# UNIT ").trim_start_matches("tcpwhy_").to_owned()
    };
    let lines = page.lines().filter(|line| !LIVE.iter().any(|live| series(line).starts_with(live)));
    lines.map(str::to_owned).collect()
}

/// The page once nothing more comes of the scenes.
fn settled(agent: &Agent) -> Vec<String> {
    wait::some("the metrics to settle", || {
        let before = recorded(&agent.get("/metrics"));
        thread::sleep(AFTERMATH);
        let after = recorded(&agent.get("/metrics"));
        (before == after).then_some(after)
    })
}

#[test]
fn an_agents_recording_replays_to_the_same_metrics() {
    let Some(_alone) = Alone::new("an_agents_recording_replays_to_the_same_metrics") else { return };
    let file = folder().join("metrics.rec");
    let file = file.to_str().expect("a path of plain text");
    let agent = Agent::start("metrics", &["--record", file]);
    let pair = Pair::without_probes();
    reset::no_socket(&pair, Family::V4);
    reset::abort_on_close(&pair, Family::V4, 1000);
    retransmit::timeouts(&pair, Family::V4, 1);
    let judged = [("cause", "closed_with_unread_data")];
    wait::until("a death to be judged", || agent.metrics().count("tcpwhy_diagnoses_total", &judged) > 0);
    let live = settled(&agent);
    assert!(agent.end().success());
    let output = command::run(&["replay", "--metrics", file]);
    assert!(output.status.success(), "{output:?}");
    let replayed = recorded(&String::from_utf8(output.stdout).expect("text"));
    for (live, replayed) in live.iter().zip(&replayed) {
        assert_eq!(live, replayed);
    }
    assert_eq!(live.len(), replayed.len());
}
