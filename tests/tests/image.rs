//! The container image: whole, small, and able to do its work with the rights that the chart gives.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread::{self, JoinHandle};

use serde_json::Value;
use tests::agent::event::Event;
use tests::agent::http;
use tests::link::{Family, Pair};
use tests::netns::Netns;
use tests::oci::{Image, Running};
use tests::scenes::reset;
use tests::skip::skip;
use tests::wait;

/// They unpack into the same folder.
static ONE: Mutex<()> = Mutex::new(());

fn image(test: &str) -> Option<Image> {
    Image::open().map_err(|reason| skip(test, &reason)).ok()
}

fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("start {program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn every_blob_is_what_its_digest_says_and_others_can_read_the_archive() {
    let _one = ONE.lock();
    let Some(image) = image("every_blob_is_what_its_digest_says_and_others_can_read_the_archive") else {
        return;
    };
    for blob in image.blobs() {
        let path = blob.to_str().expect("a path");
        let sum = printed("sha256sum", &[path]);
        assert!(path.ends_with(sum.split(' ').next().expect("a sum")), "{path}: {sum}");
    }
    let archive = std::env::var("TCPWHY_IMAGE").expect("the archive");
    let seen = printed("skopeo", &["inspect", &format!("oci-archive:{archive}")]);
    let seen: Value = serde_json::from_str(&seen).expect("skopeo's JSON");
    assert_eq!(seen["Os"], "linux");
    assert_eq!(seen["Labels"]["org.opencontainers.image.title"], "tcpwhy");
    assert_eq!(seen["Layers"].as_array().map(Vec::len), Some(1), "{seen}");
}

#[test]
fn it_holds_a_static_program_its_licences_and_what_it_is_made_of() {
    let _one = ONE.lock();
    let Some(image) = image("it_holds_a_static_program_its_licences_and_what_it_is_made_of") else { return };
    let root = image.unpack();
    let program = root.join("usr/bin/tcpwhy");
    // No `INTERP` among the segments: nothing loads it but the kernel.
    let segments = printed("readelf", &["--program-headers", program.to_str().expect("a path")]);
    assert!(!segments.contains("INTERP"), "{segments}");
    let documents = root.join("usr/share/doc/tcpwhy");
    assert!(documents.join("LICENSE-MIT").exists());
    let bill = fs::read(documents.join("tcpwhy.cdx.json")).expect("the bill of materials");
    let bill: Value = serde_json::from_slice(&bill).expect("its JSON");
    let names = bill["components"].as_array().expect("components").iter().map(|one| one["name"].as_str());
    let names: Vec<_> = names.map(|name| name.expect("a name")).collect();
    for linked in ["aya", "aya-ebpf", "hyper", "tokio"] {
        assert!(names.contains(&linked), "no {linked} among {names:?}");
    }
    assert!(!names.contains(&"proptest"), "only tests use it");
    assert!(files(&root).iter().all(|file| !file.contains("/lib/")), "{:?}", files(&root));
}

/// Fails with the first thing that the schema forbids; unknown fields are forbidden.
const STRICT: &str = "import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(open(sys.argv[1]).read())
sys.exit(error and str(error))";

#[test]
fn the_bill_of_materials_is_as_cyclonedx_has_it_and_whole() {
    let _one = ONE.lock();
    let test = "the_bill_of_materials_is_as_cyclonedx_has_it_and_whole";
    let Some(image) = image(test) else { return };
    let path = image.unpack().join("usr/share/doc/tcpwhy/tcpwhy.cdx.json");
    let python = std::env::var("TCPWHY_PYTHON").expect("TCPWHY_PYTHON (cargo xtask test sets it)");
    printed(&python, &["-c", STRICT, path.to_str().expect("a path")]);
    let bill: Value = serde_json::from_slice(&fs::read(path).expect("the bill of materials")).expect("JSON");
    let all = |of: &str, name: &str| -> BTreeSet<String> {
        let entries = bill[of].as_array().expect("a list").iter();
        entries.map(|entry| entry[name].as_str().expect("a name").to_owned()).collect()
    };
    let (parts, listed) = (all("components", "bom-ref"), all("dependencies", "ref"));
    let program = bill["metadata"]["component"]["bom-ref"].as_str().expect("the program").to_owned();
    assert_eq!(listed, parts.into_iter().chain([program]).collect(), "what each part is made of is listed");
    assert!(bill["components"].as_array().expect("a list").iter().all(|one| one.get("licenses").is_some()));
}

fn files(root: &Path) -> Vec<String> {
    let list = printed("find", &[root.to_str().expect("a path"), "-type", "f"]);
    list.lines().map(str::to_owned).collect()
}

/// A command in the container, killed with this value.
struct Tail(Child);

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_runs_under_runc_with_two_capabilities_and_tells_a_reset() {
    let _one = ONE.lock();
    let Some(image) = image("it_runs_under_runc_with_two_capabilities_and_tells_a_reset") else { return };
    let container = Running::start(&image, &["--otlp=http://collector.test:4318"]);
    wait::until("the agent to listen", || container.connect().is_ok());
    let stream = container.connect().expect("connect to the agent");
    // Panics unless it is ready.
    http::get(stream, "/readyz");

    let status = container.status();
    let has =
        |line: &str| status.lines().any(|one| one.split_whitespace().collect::<Vec<_>>().join(" ") == line);
    // CAP_PERFMON is 38, CAP_BPF 39.
    // It keeps neither of them once it has attached.
    let rights = ["CapBnd: 000000c000000000", "CapEff: 0000000000000000", "NoNewPrivs: 1", "Seccomp: 2"];
    for line in rights {
        assert!(has(line), "no {line:?} in {status}");
    }

    let asked = receiver(&container.netns);
    let mut tail =
        container.exec(&["tcpwhy", "tail", "-o", "json", "--event", "reset_sent", "--since", "1h"]);
    let pair = Pair::new();
    let reset = reset::no_socket(&pair, Family::V4);
    let mut tail = Tail(tail.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().expect("start runc exec"));
    let lines = BufReader::new(tail.0.stdout.take().expect("its standard output")).lines();
    let mut events = lines.map_while(Result::ok).map(|line| Event::parse(&line));
    assert!(events.any(|event| event.is("reset_sent", reset.sender)), "the tail ended without the reset");
    wait::until("the receiver to be found by its name", || asked.is_finished());
    assert_eq!(asked.join().expect("a request"), "POST /v1/logs HTTP/1.1\r\n");
}

/// A name server that knows one address, and the receiver at that address: first line of what that is asked.
fn receiver(netns: &Netns) -> JoinHandle<String> {
    let receiver = netns.run(|| TcpListener::bind("127.0.0.2:4318").expect("listen"));
    netns.spawn(|| name_server(&UdpSocket::bind("127.0.0.1:53").expect("bind port 53")));
    thread::spawn(move || {
        let (stream, _) = receiver.accept().expect("a connection");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("read a request");
        line
    })
}

/// Answers every question for an IPv4 address with 127.0.0.2, all others with nothing (RFC 1035 §4). Ends with the
/// test process.
fn name_server(socket: &UdpSocket) {
    const HEAD: usize = 12;
    const ADDRESS: [u8; 16] = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 2];
    let mut question = [0; 512];
    while let Ok((size, from)) = socket.recv_from(&mut question) {
        let name = question[HEAD..size].iter().position(|byte| *byte == 0).expect("a name");
        let end = HEAD + name + 5;
        let is_v4 = question[end - 4..end] == [0, 1, 0, 1];
        let mut answer = question[..end].to_vec();
        answer[2..HEAD].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_v4), 0, 0, 0, 0]);
        answer.extend(ADDRESS.iter().take(if is_v4 { ADDRESS.len() } else { 0 }));
        // Who asked may have gone.
        let _ = socket.send_to(&answer, from);
    }
}
