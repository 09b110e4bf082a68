//! An API server as far as the agent needs one: a list of pods, and a watch that reports changes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::{Value, json};

/// A server on loopback.
#[derive(Debug)]
pub struct Kubernetes {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    pods: Vec<Value>,
    watches: Vec<TcpStream>,
    asked: Vec<String>,
}

/// A pod of a Deployment as the API gives it, with one container.
pub fn pod(uid: &str, namespace: &str, name: &str, container: &str, id: &str) -> Value {
    json!({
        "kind": "Pod",
        "metadata": {"uid": uid, "namespace": namespace, "name": format!("{name}-5d4f-abcde"), "resourceVersion": "2",
            "labels": {"app": name, "pod-template-hash": "5d4f"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": format!("{name}-5d4f"), "controller": true}]},
        "status": {"phase": "Running",
            "containerStatuses": [{"name": container, "containerID": format!("containerd://{id}")}]},
    })
}

impl Kubernetes {
    /// Starts one without pods. Its thread ends with the test process.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen on loopback");
        let address = listener.local_addr().expect("local address");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &shared);
            }
        });
        Self { address, state }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a pod and reports it to the watchers.
    pub fn add(&self, pod: Value) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tell("ADDED", &pod);
        state.pods.push(pod);
    }

    /// Deletes all pods and reports it to the watchers.
    pub fn clear(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for pod in std::mem::take(&mut state.pods) {
            state.tell("DELETED", &pod);
        }
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).asked.clone()
    }
}

impl State {
    fn tell(&mut self, kind: &str, pod: &Value) {
        let line = json!({"type": kind, "object": pod});
        self.watches.retain_mut(|watch| writeln!(watch, "{line}").is_ok());
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) {
    let reader = BufReader::new(stream.try_clone().expect("duplicate a socket"));
    let head: Vec<_> = reader.lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let Some(asked) = head.first().cloned() else { return };
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let list = json!({"kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": state.pods});
    let is_watch = asked.contains("watch=1");
    state.asked.push(asked);
    let body = if is_watch { String::new() } else { list.to_string() };
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
    // Who went away asks again.
    if stream.write_all(format!("{head}{body}").as_bytes()).is_ok() && is_watch {
        state.watches.push(stream);
    }
}
