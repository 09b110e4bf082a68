//! A container's sockets take more than its memory limit: from 6.1 on the kernel charges what arrives beyond
//! `memory.max` of version 2 rather than refuse it (`gfp_memcg_charge`, GFP_ATOMIC), and keeps windows small.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tests::actor;
use tests::agent::metrics::Metrics;
use tests::link::{Family, Pair};
use tests::skip::skip;
use tests::{pod, tcp, wait};

use crate::Alone;

/// For a small process, and a fraction of what its sockets would take.
const LIMIT: u64 = 6 << 20;

/// Connections, each with as much receive buffer from the start; less together than TCP's own limits in a guest.
const CONNECTIONS: usize = 6;
const BUFFER: u64 = 4 << 20;

/// A cgroup of version 2 with `memory.max`; whoever is inside ends with it.
struct Limited(PathBuf);

impl Limited {
    /// The reason if there is no way here.
    fn new() -> Result<Self, String> {
        let root = pod::root()?;
        let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        if !controllers.split_ascii_whitespace().any(|name| name == "memory") {
            return Err("the memory controller is version 1's".to_owned());
        }
        fs::write(root.join("cgroup.subtree_control"), "+memory").expect("delegate the controller");
        let folder = root.join("limited.service");
        fs::create_dir(&folder).expect("make a cgroup");
        fs::write(folder.join("memory.max"), LIMIT.to_string()).expect("limit it");
        Ok(Self(folder))
    }

    fn number(&self, file: &str, row: &str) -> u64 {
        let text = fs::read_to_string(self.0.join(file)).expect("read a cgroup's file");
        let found = text.lines().find_map(|line| line.strip_prefix(row)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("no {row:?} in {text}"))
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        let until = Instant::now() + wait::PATIENCE;
        while fs::remove_dir(&self.0).is_err() && Instant::now() < until {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn of_unit(metrics: &Metrics, name: &str) -> u64 {
    metrics.sum(name, &[("unit", "limited.service")]).unwrap_or_default() as u64
}

/// What `ss` shows of the receive queues.
fn received(pair: &Pair) -> u64 {
    let shown = pair.server.command("ss -tmnH sport = :8000");
    let queue = |rest: &str| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().expect("a number of skmem")
    };
    shown.split("skmem:(r").skip(1).map(queue).sum()
}

#[test]
fn what_a_container_receives_beyond_its_limit_is_reported() {
    let test = "what_a_container_receives_beyond_its_limit_is_reported";
    let Some(agent) = Alone::new(test) else { return };
    let limited = match Limited::new() {
        Ok(limited) => limited,
        Err(reason) => return skip(test, &reason),
    };
    let pair = Pair::new();
    pair.server.sysctl("ipv4.tcp_rmem", format!("4096 {BUFFER} {BUFFER}"));
    let address = pair.server.socket_address(Family::V4, 8000);
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$ > \"$0\"/cgroup.procs && exec \"$@\""]).arg(&limited.0);
    command.arg(actor::binary()).args(["accept-many", &address.to_string(), &CONNECTIONS.to_string()]);
    let mut server = pair.server.start(command.stdin(Stdio::piped()));
    let streams: Vec<TcpStream> = wait::some("the server to accept", || {
        pair.client.run(|| (0..CONNECTIONS).map(|_| TcpStream::connect(address).ok()).collect())
    });
    streams.iter().for_each(tcp::nonblocking);
    wait::until("the cgroup to have more than it may", || {
        for mut stream in &streams {
            let _ = stream.write(&[b'x'; 16 << 10]);
        }
        limited.number("memory.stat", "sock ") > LIMIT
    });

    // The walk that a scrape asks for is shown by a later one.
    let metrics = wait::some("the cgroup in the metrics", || {
        let metrics = agent.metrics();
        (of_unit(&metrics, "tcpwhy_cgroup_sockets_bytes") > LIMIT).then_some(metrics)
    });
    let of = |name: &str| of_unit(&metrics, name);
    let (sockets, shown) = (limited.number("memory.stat", "sock "), received(&pair));
    let near = |reported: u64, truth: u64| reported.abs_diff(truth) * 10 <= truth * 3;
    assert!(near(of("tcpwhy_cgroup_sockets_bytes"), sockets), "{metrics:#?}, {sockets} in memory.stat");
    assert!(
        near(shown, sockets),
        "ss shows {shown}, memory.stat {sockets}: what is charged ahead is beside it"
    );
    assert_eq!(of("tcpwhy_cgroup_memory_limit_bytes"), LIMIT);
    assert!(near(of("tcpwhy_cgroup_memory_bytes"), limited.number("memory.current", "")));
    let hits = of("tcpwhy_cgroup_memory_limit_hits_total");
    assert!(hits > 0 && hits <= limited.number("memory.events", "max "), "{hits}");
    server.kill().expect("end the server");
    server.wait().expect("wait for the server");
}
