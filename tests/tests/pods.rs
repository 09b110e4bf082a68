//! Whose sockets they are in a cluster: cgroups with the paths that container runtimes make.

use std::net::TcpListener;

use tests::actor::Actor;
use tests::agent::command;
use tests::agent::event::Event;
use tests::agent::{Agent, agent};
use tests::kube::{self, Kubernetes};
use tests::link::{Family, Pair};
use tests::pod::Container;
use tests::skip::skip;
use tests::tcp::{self, Side};
use tests::wait;

/// A connection from inside a container to a listener outside.
struct Inside {
    pair: Pair,
    client: Actor,
    side: Side,
    /// Open, or its end would reset the connection first.
    _listener: TcpListener,
}

impl Inside {
    fn connected(container: &Container) -> Self {
        let pair = Pair::new();
        let listener = tcp::listen(&pair.server, Family::V4, 1);
        let remote = tcp::local_address(&listener);
        let mut client =
            Actor::start_in(&pair.client, &container.procs(), &["connect", &remote.to_string(), "podded"]);
        let local = client.address("connected");
        let side = Side { netns: pair.client.inode(), local, remote };
        Self { pair, client, side, _listener: listener }
    }

    /// `SO_LINGER` 0 and close: a reset without any timer. Gives what the agent says of it.
    fn aborted(&mut self, agent: &Agent) -> Event {
        let tail = agent.tail(&self.pair.client);
        self.client.order("abort");
        tail.wait_for("the reset", |event| event.is("reset_sent", self.side))
    }
}

fn container(test: &str) -> Option<Container> {
    Container::new().map_err(|reason| skip(test, &reason)).ok()
}

fn resets(agent: &Agent, labels: &[(&str, &str)]) -> Option<f64> {
    agent.metrics().sum("tcpwhy_resets_sent_total", labels)
}

#[test]
fn the_cgroup_id_of_a_socket_is_the_inode_of_its_directory() {
    let Some(container) = container("the_cgroup_id_of_a_socket_is_the_inode_of_its_directory") else {
        return;
    };
    let reset = Inside::connected(&container).aborted(agent());
    assert_eq!(reset.number("/cgroup"), container.inode(), "{reset:?}");
}

#[test]
fn without_an_api_pods_and_containers_have_their_ids() {
    let Some(container) = container("without_an_api_pods_and_containers_have_their_ids") else {
        return;
    };
    let agent = agent();
    let reset = Inside::connected(&container).aborted(agent);
    assert_eq!(reset.text("/place/pod_uid"), container.pod_uid);
    assert_eq!(reset.text("/place/container_id"), container.id);
    assert_eq!(reset.text("/place/container"), &container.id[..12]);
    assert_eq!(reset.find("/place/namespace"), None);
    let labels = [("pod", &*container.pod_uid), ("container", &container.id[..12])];
    assert_eq!(resets(agent, &labels), Some(1.0));
}

#[test]
fn names_come_from_the_api_late_ones_too_and_outlive_the_pod() {
    let Some(container) = container("names_come_from_the_api_late_ones_too_and_outlive_the_pod") else {
        return;
    };
    let api = Kubernetes::start();
    let agent = Agent::start("named", &["--node-name", "node1", "--kubernetes-api", &api.url()]);
    wait::until("a watch", || api.asked().len() >= 2);
    assert!(
        api.asked()[0].starts_with("GET /api/v1/pods?fieldSelector=spec.nodeName%3Dnode1&"),
        "{:?}",
        api.asked()
    );
    let mut early = Inside::connected(&container);
    assert_eq!(early.aborted(&agent).find("/place/pod"), None);
    api.add(kube::pod(&container.pod_uid, "shop", "web", "nginx", &container.id));

    let labels = [("namespace", "shop"), ("pod", "web-5d4f-abcde"), ("container", "nginx")];
    wait::until("the names", || resets(&agent, &labels) == Some(1.0));
    let late = why(&agent, &["--pod", "shop/web-5d4f-abcde"]);
    assert_eq!(late.text("/place/workload/kind"), "Deployment");
    assert_eq!(late.text("/place/workload/name"), "web");
    assert_eq!(late.number("/local/port"), u64::from(early.side.local.port()));

    let filtered = agent.follow("namespace=shop&selector=app%3Dweb&event=reset_sent");
    let others = agent.follow("namespace=blog");
    let mut second = Inside::connected(&container);
    let reset = second.aborted(&agent);
    assert_eq!((reset.text("/place/pod"), reset.text("/place/container")), ("web-5d4f-abcde", "nginx"));
    filtered.wait_for("the reset", |event| event.is("reset_sent", second.side));
    assert_eq!(others.received(), []);
    let owner = [("namespace", "shop"), ("owner_kind", "Deployment"), ("owner_name", "web")];
    assert_eq!(agent.metrics().sum("tcpwhy_pod_owner", &owner), Some(1.0));
    assert_eq!(agent.metrics().sum("tcpwhy_names_up", &[("source", "kubernetes")]), Some(1.0));

    api.clear();
    wait::until("the end of the pod", || agent.metrics().sum("tcpwhy_pod_owner", &owner).is_none());
    let dead = why(&agent, &["-l", "app=web"]);
    assert_eq!(dead.number("/local/port"), u64::from(second.side.local.port()));
    assert_eq!(dead.text("/place/pod"), "web-5d4f-abcde");
}

/// What `tcpwhy why` says.
fn why(agent: &Agent, arguments: &[&str]) -> Event {
    let socket = agent.socket().to_str().expect("a path");
    let output = command::run(&[&["why", "-o", "json", "--socket", socket], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Event::parse(&String::from_utf8_lossy(&output.stdout))
}
