//! What `top` gets from the agent: an overview now and then, the stream of diagnoses, and answers to `why`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::model::Message;
use crate::answers::top::Top;
use crate::answers::why::WhyReport;
use crate::cli::client;
use crate::cli::client::ClientError;
use crate::filter::query::Query;
use crate::filter::{Filter, Show};
use crate::schema::Item;

/// Between two tries to reach an agent that went away.
const RETRY: Duration = Duration::from_secs(1);

/// Where messages come from.
pub(super) struct Source {
    pub(super) socket: PathBuf,
    pub(super) interval: Duration,
    pub(super) messages: mpsc::Sender<Message>,
}

/// Asks the agent for one overview.
pub(super) async fn overview(socket: &Path) -> anyhow::Result<Top> {
    let answer = client::ask(socket, "/v1/top").await?;
    serde_json::from_str(&answer).context("read the agent's answer")
}

impl Source {
    /// Asks and listens until nobody receives any more.
    pub(super) fn start(&self) {
        let (socket, messages, interval) = (self.socket.clone(), self.messages.clone(), self.interval);
        tokio::spawn(async move {
            loop {
                sleep(interval).await;
                let message = match overview(&socket).await {
                    Ok(top) => Message::Top(Box::new(top)),
                    Err(error) => Message::Down(format!("{error:#}")),
                };
                if messages.send(message).await.is_err() {
                    return;
                }
            }
        });
        let (socket, messages) = (self.socket.clone(), self.messages.clone());
        tokio::spawn(async move {
            let mut since = Timestamp::UNIX_EPOCH;
            // The next overview shows how it ended.
            while listen(&socket, &messages, &mut since).await.is_err() && !messages.is_closed() {
                sleep(RETRY).await;
            }
        });
    }

    /// Asks why, in the background.
    pub(super) fn ask(&self, connection: String) {
        let (socket, messages) = (self.socket.clone(), self.messages.clone());
        tokio::spawn(async move {
            let report = why(&socket, &connection).await.map(Box::new).map_err(|error| format!("{error:#}"));
            // The receiver may be gone.
            let _ = messages.send(Message::Why(connection, report)).await;
        });
    }
}

async fn why(socket: &Path, connection: &str) -> anyhow::Result<WhyReport> {
    let answer = client::ask(socket, &format!("/v1/why?id={connection}")).await?;
    serde_json::from_str(&answer).context("read the agent's answer")
}

/// Diagnoses from `since` on, which follows them; `Ok` once nobody wants them.
async fn listen(
    socket: &Path,
    messages: &mpsc::Sender<Message>,
    since: &mut Timestamp,
) -> Result<(), ClientError> {
    let filter = Filter { show: Show::Diagnoses, ..Filter::default() };
    let query = Query { filter, since: Some(*since) }.to_query();
    let mut lines = client::open(socket, &format!("/v1/events?{query}")).await?;
    loop {
        for line in lines.next().await? {
            let Ok(Item::Diagnosis(diagnosis)) = Item::parse(line.as_bytes()) else { continue };
            *since = (*since).max(diagnosis.time + Duration::from_nanos(1));
            if messages.send(Message::Diagnosis(diagnosis)).await.is_err() {
                return Ok(());
            }
        }
    }
}
