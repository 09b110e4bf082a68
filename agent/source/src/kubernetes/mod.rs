//! Names of this node's pods: list, then watch, at the Kubernetes API.
//!
//! It takes `list` and `watch` of `pods`, nothing more; the request is limited to this node
//! (`spec.nodeName`), so the API server sends nothing of others. The kubelet's own `/pods` would need
//! `nodes/proxy`, which lets its holder run commands in every pod, and a container runtime's socket is root
//! on the node: neither is used.

mod client;
mod object;

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use agent_model::event::{Fact, Pod};
use agent_model::limits::PODS;
use hyper::StatusCode;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, timeout};

pub use self::client::{Api, ApiError, in_cluster};
use self::object::{PodList, PodObject, WatchLine};
use super::kernel::facts::monotonic;
use super::names::NamesUp;

/// Time that the server is asked to keep a watch open.
const WATCH_SECONDS: u64 = 240;

/// Time without a word after which a watch is given up: the server sends a bookmark about once a minute, and
/// ends the watch in any case.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS + 30);

/// First pause after a failure, doubled up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// See [`FIRST_PAUSE`]: a server that comes back is found within this time.
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// A watch that ended sooner is followed by a pause: a server that ends each watch at once is asked a few times a
/// minute, not thousands of times a second.
const SHORT_WATCH: Duration = Duration::from_secs(30);

/// What is known of the node's pods.
#[derive(Debug, Default)]
struct Pods {
    known: BTreeMap<Box<str>, Pod>,
    /// Where to go on; `None` if a list is needed.
    version: Option<String>,
}

/// How a watch ended.
#[derive(Debug)]
enum End {
    /// As it must now and then.
    Over,
    /// Nobody takes facts any more.
    NobodyListens,
    /// Otherwise.
    Failed(ApiError),
}

impl From<ApiError> for End {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
    }
}

/// Sends the node's pods until nobody listens. A server that is gone or refuses is logged once, and asked again.
pub async fn run(api: Api, to: Sender<Fact>, up: Arc<NamesUp>) {
    let (mut pods, mut pause, mut logged) = (Pods::default(), FIRST_PAUSE, false);
    loop {
        let began = Instant::now();
        let end = pods.follow(&api, &to, &up).await;
        logged &= !up.is_up();
        if up.is_up() && began.elapsed() >= SHORT_WATCH {
            pause = FIRST_PAUSE;
        }
        match end {
            End::NobodyListens => return,
            End::Over if began.elapsed() >= SHORT_WATCH => continue,
            End::Over => (),
            End::Failed(ApiError::Expired) => pods.version = None,
            End::Failed(error) => {
                up.set(false);
                if !std::mem::replace(&mut logged, true) {
                    log::warn!("no news of pods' names: {:#}", anyhow::Error::new(error));
                }
            }
        }
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// Between half of it and all of it: the agents of a thousand nodes do not come back at once.
fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) as f64 / u64::MAX as f64;
    pause.mul_f64(0.5 + random / 2.0)
}

impl Pods {
    async fn follow(&mut self, api: &Api, to: &Sender<Fact>, up: &NamesUp) -> End {
        match self.list_and_watch(api, to, up).await {
            Ok(()) => End::Over,
            Err(end) => end,
        }
    }

    async fn list_and_watch(&mut self, api: &Api, to: &Sender<Fact>, up: &NamesUp) -> Result<(), End> {
        let version = match self.version.clone() {
            Some(version) => version,
            None => self.list(api, to).await?,
        };
        let mut lines = api.get(&query(&api.node, Some(&version))).await?;
        if !up.is_up() {
            log::info!("names of {} pods of node {} from {}", self.known.len(), api.node, api.server);
            up.set(true);
        }
        loop {
            let line = timeout(SILENCE, lines.next()).await.map_err(|_| ApiError::Silent)??;
            let Some(line) = line else { return Ok(()) };
            let change = self.take(serde_json::from_slice(&line).map_err(ApiError::from)?)?;
            send(to, change).await?;
        }
    }

    async fn list(&mut self, api: &Api, to: &Sender<Fact>) -> Result<String, End> {
        let mut lines = api.get(&query(&api.node, None)).await?;
        let text = timeout(SILENCE, lines.all()).await.map_err(|_| ApiError::Silent)??;
        let list: PodList = serde_json::from_slice(&text).map_err(ApiError::from)?;
        let version = list.metadata.resource_version.clone();
        send(to, self.replace(list)).await?;
        self.version = Some(version.clone());
        Ok(version)
    }

    /// Whoever is gone is missing from the list.
    fn replace(&mut self, list: PodList) -> Vec<Fact> {
        let listed: Vec<_> = list.items.into_iter().filter_map(PodObject::into_pod).collect();
        let is_listed = |uid: &str| listed.iter().any(|pod| &*pod.uid == uid);
        let gone: Vec<_> = self.known.keys().filter(|uid| !is_listed(uid)).cloned().collect();
        let gone: Vec<_> = gone.iter().filter_map(|uid| self.remove(uid)).collect();
        let new = listed.into_iter().filter_map(|pod| self.add(pod));
        new.chain(gone).collect()
    }

    fn take(&mut self, line: WatchLine) -> Result<Option<Fact>, ApiError> {
        let WatchLine { kind, object } = line;
        if kind == "ERROR" {
            let code = StatusCode::from_u16(object.code).unwrap_or_default();
            let expired = code == StatusCode::GONE;
            return Err(if expired { ApiError::Expired } else { ApiError::Refused(code, object.message) });
        }
        if !object.metadata.resource_version.is_empty() {
            self.version = Some(object.metadata.resource_version.clone());
        }
        let Some(pod) = object.into_pod() else { return Ok(None) };
        Ok(match kind.as_str() {
            "ADDED" | "MODIFIED" => self.add(pod),
            "DELETED" => self.remove(&pod.uid),
            _ => None,
        })
    }

    /// Most changes of a pod are none of its names.
    fn add(&mut self, pod: Pod) -> Option<Fact> {
        let room = self.known.len() < PODS || self.known.contains_key(&pod.uid);
        if !room || self.known.get(&pod.uid) == Some(&pod) {
            return None;
        }
        self.known.insert(pod.uid.clone(), pod.clone());
        Some(Fact::Pod(pod))
    }

    fn remove(&mut self, uid: &str) -> Option<Fact> {
        let pod = self.known.remove(uid)?;
        Some(Fact::PodGone { uid: pod.uid, time: monotonic().unwrap_or(0) })
    }
}

async fn send(to: &Sender<Fact>, facts: impl IntoIterator<Item = Fact>) -> Result<(), End> {
    for fact in facts {
        to.send(fact).await.map_err(|_| End::NobodyListens)?;
    }
    Ok(())
}

/// A list may come from the API server's cache (`resourceVersion=0`): a thousand agents that restart do not
/// read etcd.
fn query(node: &str, watch_from: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("fieldSelector", &format!("spec.nodeName={node}"));
    match watch_from {
        None => query.append_pair("resourceVersion", "0"),
        Some(version) => query
            .append_pair("watch", "1")
            .append_pair("allowWatchBookmarks", "true")
            .append_pair("timeoutSeconds", &WATCH_SECONDS.to_string())
            .append_pair("resourceVersion", version),
    };
    format!("/api/v1/pods?{}", query.finish())
}

#[cfg(test)]
mod tests;
