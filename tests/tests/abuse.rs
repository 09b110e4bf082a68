//! What goes wrong around the agent ends as it should.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use aya::programs::loaded_programs;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::agent::{Agent, folder, program};
use tests::netns::Netns;
use tests::tcp;
use tests::wait;

/// Ids of the programs that a process holds.
fn programs(pid: u32) -> BTreeSet<u32> {
    let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("list an agent's files");
    let texts = files.filter_map(|file| fs::read_to_string(file.ok()?.path()).ok());
    texts.filter_map(|text| field(&text, "prog_id:")).collect()
}

fn field(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[test]
fn a_killed_agent_leaves_nothing_attached() {
    let agent = Agent::start("kill", &[]);
    let held = programs(agent.pid());
    assert!(held.len() >= 9, "{held:?}");
    kill(Pid::from_raw(agent.pid().cast_signed()), Signal::SIGKILL).expect("kill an agent");
    wait::until("the kernel to free its programs", || {
        loaded_programs().filter_map(Result::ok).all(|program| !held.contains(&program.id()))
    });
}

#[test]
fn a_stopped_agent_goes_on_where_it_was() {
    let agent = Agent::start("stop", &[]);
    let signal = |signal| kill(Pid::from_raw(agent.pid().cast_signed()), signal).expect("signal an agent");
    let resets = || agent.metrics().count("tcpwhy_resets_received_total", &[("state", "SYN_SENT")]);
    let before = resets();
    signal(Signal::SIGSTOP);
    let netns = Netns::new();
    netns.run(|| {
        for _ in 0..20_000 {
            TcpStream::connect((Ipv4Addr::LOCALHOST, 1)).expect_err("nobody listens");
        }
    });
    signal(Signal::SIGCONT);
    assert!(resets() - before >= 20_000, "counters do not sleep");
}

/// Sockets that are not remembered lose their owner, not their count.
#[test]
fn a_full_table_of_sockets_is_counted() {
    let agent = Agent::start("small", &["--max-sockets", "64"]);
    let netns = Netns::new();
    netns.run(|| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
        let to = listener.local_addr().expect("its address");
        let pair = || {
            let client = TcpStream::connect(to).expect("connect");
            (client, listener.accept().expect("accept").0)
        };
        let (clients, servers): (Vec<_>, Vec<_>) = (0..200).map(|_| pair()).unzip();
        clients.into_iter().for_each(tcp::abort);
        drop(servers);
    });
    let metrics = agent.metrics();
    assert!(metrics.count("tcpwhy_records_lost_total", &[("stage", "socket")]) > 0);
    assert!(metrics.count("tcpwhy_resets_received_total", &[("state", "ESTABLISHED")]) >= 200);
}

/// In a mount namespace of its own, on a disk of 64 KiB.
#[test]
fn a_full_disk_ends_a_recording_with_its_name() {
    let disk = folder().join("disk");
    fs::create_dir_all(&disk).expect("make a folder");
    let script =
        "mount -t tmpfs -o size=64k tmpfs \"$1\" && exec \"$0\" record --storm-rate 0 \"$1/full.rec\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).arg(program()).arg(&disk).stderr(Stdio::piped());
    let mut child = command.spawn().expect("start a recording");
    let netns = Netns::new();
    let status = wait::some("the recording to end", || {
        netns.run(|| {
            for _ in 0..500 {
                TcpStream::connect((Ipv4Addr::LOCALHOST, 1)).expect_err("nobody listens");
            }
        });
        child.try_wait().expect("wait for a recording")
    });
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().expect("its standard error"), &mut said)
        .expect("read its standard error");
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("full.rec") && said.contains("No space left on device"), "{said}");
}

#[test]
fn a_reader_that_goes_and_comes_leaves_no_place_taken() {
    let agent = Agent::start("readers", &[]);
    for _ in 0..200 {
        drop(UnixStream::connect(agent.socket()).expect("connect to the agent's socket"));
    }
    assert!(agent.query("/v1/status").contains("\"readers\":0"));
}
