use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;

/// A server that answers by the script of a test.
struct Server {
    listener: TcpListener,
    api: Api,
}

impl Server {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let api = Api { server, credentials: "/nonexistent".into(), node: "node1".to_owned() };
        Self { listener, api }
    }

    /// Takes the next request; gives its first line and where to answer.
    async fn asked(&self) -> (String, TcpStream) {
        let accepted = timeout(Duration::from_mins(1), self.listener.accept()).await.expect("a request");
        let (mut stream, _) = accepted.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        (head.lines().next().unwrap().to_owned(), stream)
    }

    async fn answer(&self, expected: &str, status: &str, body: &str) {
        let (line, mut stream) = self.asked().await;
        assert!(line.contains(expected), "{expected} is not in {line}");
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    }
}

fn pod(uid: &str, name: &str, version: u32) -> String {
    format!(
        r#"{{"metadata": {{"uid": "{uid}", "namespace": "shop", "name": "{name}", "resourceVersion": "{version}"}},
            "status": {{"phase": "Running"}}}}"#
    )
    .replace('\n', "")
}

fn list(version: u32, pods: &[String]) -> String {
    format!(
        r#"{{"kind": "PodList", "metadata": {{"resourceVersion": "{version}"}}, "items": [{}]}}"#,
        pods.join(",")
    )
}

fn line(kind: &str, object: &str) -> String {
    format!("{{\"type\": \"{kind}\", \"object\": {object}}}\n")
}

/// The name of a new pod, or the UID of one that is gone.
async fn change(facts: &mut mpsc::Receiver<Fact>) -> String {
    let fact = timeout(Duration::from_mins(1), facts.recv()).await.expect("a fact").unwrap();
    if let Fact::Pod(pod) = fact {
        return format!("+{}", pod.name);
    }
    let Fact::PodGone { uid, .. } = fact else { panic!("{fact:?}") };
    format!("-{uid}")
}

struct Following {
    server: Server,
    facts: mpsc::Receiver<Fact>,
    up: Arc<NamesUp>,
}

async fn following() -> Following {
    let server = Server::new().await;
    let (tell, facts) = mpsc::channel(64);
    let up = Arc::new(NamesUp::new("kubernetes"));
    tokio::spawn(run(server.api.clone(), tell, Arc::clone(&up)));
    Following { server, facts, up }
}

const LIST: &str = "GET /api/v1/pods?fieldSelector=spec.nodeName%3Dnode1&resourceVersion=0";

#[tokio::test]
async fn a_list_then_what_changes() {
    let Following { server, mut facts, up } = following().await;
    server.answer(LIST, "200 OK", &list(7, &[pod("a", "web", 3), pod("b", "db", 4)])).await;
    assert_eq!((change(&mut facts).await, change(&mut facts).await), ("+web".into(), "+db".into()));
    let changes = [
        // A change of status names nothing new.
        line("MODIFIED", &pod("a", "web", 8)),
        line(
            "BOOKMARK",
            r#"{"kind": "Pod", "metadata": {"resourceVersion": "9", "creationTimestamp": null}}"#,
        ),
        line("ADDED", &pod("c", "job", 10)),
        line("DELETED", &pod("b", "db", 11)),
    ];
    server
        .answer("allowWatchBookmarks=true&timeoutSeconds=240&resourceVersion=7", "200 OK", &changes.concat())
        .await;
    assert_eq!((change(&mut facts).await, change(&mut facts).await), ("+job".into(), "-b".into()));
    assert!(up.is_up());
    // The server ends a watch now and then: it goes on where it was.
    let (again, _) = server.asked().await;
    assert!(again.contains("watch=1") && again.contains("resourceVersion=11 "), "{again}");
}

#[tokio::test]
async fn what_was_missed_is_found_by_a_new_list() {
    let Following { server, mut facts, up } = following().await;
    server.answer(LIST, "200 OK", &list(7, &[pod("a", "web", 3)])).await;
    assert_eq!(change(&mut facts).await, "+web");
    let expired =
        r#"{"kind": "Status", "status": "Failure", "message": "too old", "reason": "Expired", "code": 410}"#;
    server.answer("resourceVersion=7", "200 OK", &line("ERROR", expired)).await;
    server.answer(LIST, "200 OK", &list(90, &[pod("c", "job", 80)])).await;
    assert_eq!((change(&mut facts).await, change(&mut facts).await), ("+job".into(), "-a".into()));
    server.answer("resourceVersion=90", "410 Gone", expired).await;
    server.answer(LIST, "200 OK", &list(91, &[pod("c", "job", 80)])).await;
    let (_, _open) = server.asked().await;
    assert!(up.is_up());
}

#[tokio::test]
async fn a_refusal_or_an_outage_is_waited_out() {
    let Following { server, mut facts, up } = following().await;
    let forbidden = r#"{"kind": "Status", "status": "Failure", "message": "pods is forbidden", "code": 403}"#;
    server.answer(LIST, "403 Forbidden", forbidden).await;
    // Nothing at all: the server went away.
    drop(server.asked().await);
    assert!(!up.is_up());
    server.answer(LIST, "200 OK", &list(7, &[pod("a", "web", 3)])).await;
    assert_eq!(change(&mut facts).await, "+web");
    server.answer("resourceVersion=7", "200 OK", "{\"type\": 7}\n").await;
    server.answer("resourceVersion=7", "200 OK", "").await;
    let (_, _open) = server.asked().await;
    assert!(up.is_up());
}

/// However slow this machine is: pauses only make the number smaller.
#[tokio::test]
async fn a_server_that_ends_each_watch_at_once_is_asked_seldom() {
    let Following { server, mut facts, .. } = following().await;
    server.answer(LIST, "200 OK", &list(7, &[pod("a", "web", 3)])).await;
    assert_eq!(change(&mut facts).await, "+web");
    let watches = async {
        for asked in 1.. {
            server.answer("resourceVersion=7", "200 OK", "").await;
            assert!(asked <= 4, "{asked} watches in three seconds");
        }
    };
    let _ = timeout(Duration::from_secs(3), watches).await;
}

#[tokio::test]
async fn why_it_refuses_is_logged() {
    let server = Server::new().await;
    let forbidden = r#"{"kind": "Status", "status": "Failure", "message": "pods is forbidden", "code": 403}"#;
    let asks = server.api.get("/api/v1/pods");
    let (error, ()) = tokio::join!(asks, server.answer("pods", "403 Forbidden", forbidden));
    let error = error.unwrap_err().to_string();
    assert_eq!(error, "the API server refuses with 403 Forbidden: pods is forbidden");
    let hostile = r#"{"message": "no\u001b[31m\nway", "code": 500}"#;
    let asks = server.api.get("/api/v1/pods");
    let (error, ()) = tokio::join!(asks, server.answer("pods", "500 Internal Server Error", hostile));
    let error = error.unwrap_err().to_string();
    assert_eq!(error, r"the API server refuses with 500 Internal Server Error: no\u{1b}[31m\nway");
    let mut tls = server.api.clone();
    tls.server = tls.server.to_string().replace("http", "https").parse().unwrap();
    let error = tls.get("/").await.unwrap_err().to_string();
    assert_eq!(error, "read the certificates of /nonexistent/ca.crt");
}

#[test]
fn in_a_pod_the_environment_names_the_server() {
    let folder = std::env::temp_dir().join(format!("tcpwhy-account-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let server = |host: &str| in_cluster(Some(host.into()), Some("443".into()), &folder);
    assert_eq!(server("192.0.2.1"), None, "no token");
    std::fs::write(folder.join("token"), "t").unwrap();
    assert_eq!(server("192.0.2.1").unwrap(), "https://192.0.2.1:443");
    assert_eq!(server("2001:db8::1").unwrap(), "https://[2001:db8::1]:443");
    assert_eq!(in_cluster(None, None, &folder), None);
    std::fs::remove_dir_all(folder).unwrap();
}
