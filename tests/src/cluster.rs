//! A cluster of two nodes as `kubectl` shows it: each network namespace of a [`Pair`] is a node, with an agent of its
//! own that is asked for that namespace alone. Only `kubectl` is made up: a script that answers `get` from files and
//! runs the real program for `exec`.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::agent::{self, Agent};
use crate::link::{Family, Pair};
use crate::witness::Witnesses;

/// Two nodes with an agent each, and a pod on each.
#[derive(Debug)]
pub struct Cluster {
    /// The network: the client's side is `node-a` with pod `shop/client`, the server's `node-b` with `shop/server`.
    pub pair: Pair,
    folder: PathBuf,
}

/// Answers what `tcpwhy kubectl` asks, and nothing else. `exec`: the 4th word names the agent's pod.
const SCRIPT: &str = r#"#!/bin/sh
folder=$(dirname "$0")
printf '%s\n' "$*" >> "$folder/asked"
case "$*" in
    "get pod client --namespace shop --output json") cat "$folder/client.json";;
    "get pods --selector app.kubernetes.io/name=tcpwhy "*" --all-namespaces --output json") cat "$folder/agents.json";;
    "get pods --all-namespaces --field-selector status.podIP="*" --output json")
        address=${5#status.podIP=}; cat "$folder/pod-$address.json" 2>/dev/null || echo '{"items":[]}';;
    "exec --namespace tcpwhy agent-"*" --container agent -- tcpwhy "*)
        . "$folder/$4.env"; shift 8
        exec "$TCPWHY_BIN" "$@" --netns "$netns" --socket "$socket";;
    *) echo "no such question: $*" >&2; exit 1;;
esac
"#;

impl Cluster {
    /// A new one; all of a test process have the same two agents.
    pub fn start() -> Self {
        let pair = Pair::new();
        let folder = agent::folder().join(format!("kubectl-{}", pair.client.inode()));
        fs::create_dir_all(&folder).expect("create a folder");
        let cluster = Self { pair, folder };
        cluster.write();
        cluster
    }

    /// To be put before `PATH`: where its `kubectl` is.
    pub fn path(&self) -> String {
        let path = std::env::var("PATH").unwrap_or_default();
        format!("{}:{path}", self.folder.display())
    }

    /// What its `kubectl` was asked so far, one line each.
    pub fn asked(&self) -> String {
        fs::read_to_string(self.folder.join("asked")).unwrap_or_default()
    }

    /// Address of a pod.
    pub fn address(&self, index: usize) -> IpAddr {
        [&self.pair.client, &self.pair.server][index].socket_address(Family::V4, 0).ip()
    }

    fn write(&self) {
        let put = |name: &str, text: String| {
            fs::write(self.folder.join(name), text).unwrap_or_else(|error| panic!("write {name}: {error}"));
        };
        put("kubectl", SCRIPT.to_owned());
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.folder.join("kubectl"), executable).expect("make a script executable");
        let nodes = [("node-a", "client", &self.pair.client), ("node-b", "server", &self.pair.server)];
        let mut shown = Vec::new();
        for (index, (node, name, netns)) in nodes.into_iter().enumerate() {
            let pod = pod("shop", name, node, self.address(index));
            put(&format!("pod-{}.json", self.address(index)), json!({"items": [pod]}).to_string());
            put(&format!("{name}.json"), pod.to_string());
            // Out of the way of the pods' own: of a node's network.
            let address = format!("203.0.113.{}", index + 1).parse().expect("an address");
            shown.push(self::pod("tcpwhy", &format!("agent-{index}"), node, address));
            let socket = agents()[index].socket().display();
            put(&format!("agent-{index}.env"), format!("netns={}\nsocket={socket}\n", netns.inode()));
        }
        put("agents.json", json!({"items": shown}).to_string());
    }
}

fn agents() -> &'static [Agent; 2] {
    static AGENTS: OnceLock<[Agent; 2]> = OnceLock::new();
    AGENTS.get_or_init(|| ["node-a", "node-b"].map(|node| Agent::start(node, &[])))
}

/// Of both agents.
pub fn witnesses() -> &'static Witnesses {
    static WITNESSES: OnceLock<Witnesses> = OnceLock::new();
    WITNESSES.get_or_init(|| Witnesses::of(&agents().each_ref().map(Agent::pid)))
}

fn pod(namespace: &str, name: &str, node: &str, address: IpAddr) -> Value {
    json!({
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"nodeName": node},
        "status": {"phase": "Running", "podIP": address, "hostIP": "203.0.113.9"},
    })
}
