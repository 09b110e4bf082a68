//! The live page, in a real browser.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::Value;
use tests::agent::{folder, program};
use tests::link::{Family, Loss, Pair};
use tests::tcp::{self, Connection};

/// An agent with a page.
struct Agent {
    child: Child,
    page: SocketAddr,
}

impl Agent {
    fn start(name: &str) -> Self {
        let mut command = Command::new(program());
        command.args(["agent", "--listen", "127.0.0.1:0", "--page", "127.0.0.1:0", "--socket"]);
        command.arg(folder().join(format!("{name}.sock"))).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        let mut lines = BufReader::new(child.stderr.take().expect("its standard error")).lines();
        let page = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("page http://")?.split_once("/,")?.0.parse().ok());
        thread::spawn(move || lines.for_each(drop));
        Self { child, page: page.expect("the agent names its page") }
    }

    /// The answer to one request, head and all.
    fn ask(&self, path: &str, host: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    }

    fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.page).expect("connect to the page");
        stream.write_all(request.as_bytes()).expect("ask");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn another_sites_name_gets_nothing() {
    let agent = Agent::start("rebinding");
    for path in ["/", "/v1/top", "/v1/events"] {
        assert!(agent.ask(path, "evil.example").starts_with("HTTP/1.1 403"), "{path}");
    }
    for host in ["localhost@evil.example", "localhost:@evil.example", "localhost\r\nHost: evil.example"] {
        assert!(agent.ask("/v1/top", host).starts_with("HTTP/1.1 4"), "{host}");
    }
    let absolute = "GET http://evil.example/v1/top HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert!(agent.send(absolute).starts_with("HTTP/1.1 403"));
    let page = agent.ask("/", "localhost");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("default-src 'none'"), "{page}");
    assert!(agent.ask("/v1/top", &agent.page.to_string()).contains("\"memory\":"));
    let refused =
        Command::new(program()).args(["agent", "--page", "0.0.0.0:9753"]).output().expect("run tcpwhy");
    assert_eq!(refused.status.code(), Some(64));
    let printed = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(printed.contains("--page") && printed.contains("only a loopback address"), "{printed}");
}

#[test]
fn a_browser_shows_a_stalled_connection() {
    let agent = Agent::start("browser");
    let pair = Pair::without_probes();
    let connection = Connection::open(&pair, Family::V4);
    pair.server.drop_incoming(&Loss::all());
    tcp::send(&connection.client, 100);
    let local = connection.client_side.local.to_string();
    tests::wait::until("the agent reports the stall", || {
        agent.ask("/v1/top", "localhost").contains("\"stage\":2")
    });
    let picture = folder().join("page.png");
    let shoot = |how: &[&str], fragment: &str| {
        let mut command = Command::new("chromium");
        command.args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--window-size=1100,900",
        ]);
        command.arg(format!("--user-data-dir={}", folder().join("browser").display()));
        command.args(["--timeout=5000", "--virtual-time-budget=4000"]).args(how);
        command.arg(format!("http://{}/{fragment}", agent.page));
        let output = command.output().expect("run the browser");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let document = shoot(&["--dump-dom"], "");
    assert!(!document.contains("<dialog id=\"why\" open"), "{document}");
    for part in
        [&format!("{local} &gt;"), "retransmission_timeout", "by tcp_retries2", "<meter", "nothing lost"]
    {
        assert!(document.contains(part), "no {part:?} in {document}");
    }
    shoot(&[&format!("--screenshot={}", picture.display())], "");
    assert!(std::fs::metadata(&picture).expect("a picture").len() > 10_000);

    let top: Value = serde_json::from_str(agent.ask("/v1/top", "localhost").lines().last().expect("a body"))
        .expect("JSON");
    let stalled = top["stalled"].as_array().expect("a list");
    let one = stalled.iter().find(|one| one["local"]["port"] == connection.client_side.local.port());
    let id = one.and_then(|one| one["connection"].as_str()).expect("the stalled connection").to_owned();
    let story = shoot(&["--dump-dom"], &format!("#{id}"));
    for part in ["<dialog id=\"why\" open", "data:image/svg+xml,%3Csvg", "observed: ", "advice: "] {
        assert!(story.contains(part), "no {part:?} in {story}");
    }
    assert!(!story.contains("alt=\"the picture cannot be shown\""), "{story}");
    let gone = shoot(&["--dump-dom"], "#no-such-connection");
    assert!(gone.contains("<dialog id=\"why\" open"), "{gone}");
}
