//! Appending messages so that each is in its stream once, whatever the connection does.
//!
//! An append whose answer was lost may have been carried out. Before it is sent again, its message id is looked for
//! among the entries that are young enough to be it.

use std::collections::HashSet;

use tracing::debug;

use crate::{
    broker::{Append, Appended, Broker, BrokerError, Range},
    entry::EntryId,
    message::{Message, UnixMillis},
    name::MessageId,
    topic::{OUT_ENTRIES_MAX, StreamKey},
    wire::{TooLarge, Wire},
};

/// How many entries one look reads at a time.
const PAGE: usize = 1000;
/// How many entries are looked at before the fate of an append is called unknown.
const LOOKED_AT_MAX: usize = 200_000;
/// How much the broker's clock may be behind what this process believes it to be.
const CLOCK_SLACK_MS: u64 = 1000;

/// The entry that carries a message to a stream, in the format of the topic whose stream it is, and within the bound of
/// what that keeps.
pub(crate) fn append_of(wire: Wire, key: StreamKey, message: &Message) -> Result<Append, TooLarge> {
    let Some(topic) = key.js_topic() else {
        let entries_max = key.is_outbound().then_some(OUT_ENTRIES_MAX);
        return Ok(Append { entries_max, ..Append::new(key, wire.encode(message)?) });
    };
    let fields = wire.encode_for(&topic, message)?;
    Ok(Append { entries_max: topic.entries_max(), ..Append::new(key, fields) })
}

/// Where a message went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed {
    pub(crate) entry: EntryId,
    /// The connection that carried it; `None` when it was found later and so may have gone over an earlier one.
    pub(crate) epoch: Option<u64>,
}

/// Appends one message.
///
/// While the broker is away before anything was sent, the error is immediate: new work is not queued behind an outage.
/// Once an attempt has an unknown fate this waits for the broker to come back, so the caller bounds it with a timeout;
/// dropping it leaves the fate unknown.
pub(crate) async fn append_once(broker: &dyn Broker, id: &MessageId, append: Append) -> Result<Placed, BrokerError> {
    let since = broker.now();
    let mut interrupted = false;
    loop {
        match append_one(broker, append.clone()).await {
            Err(error @ BrokerError::Interrupted { .. }) => {
                debug!(key = %append.key, %id, %error, "append of unknown fate");
                interrupted = true;
            }
            Err(error) if interrupted && error.is_transient() => {
                debug!(key = %append.key, %id, %error, "append must wait");
            }
            result => {
                let Appended { id, epoch } = result?;
                let entry = id.ok_or_else(|| BrokerError::Protocol("an append without an id".into()))?;
                return Ok(Placed { entry, epoch: Some(epoch) });
            }
        }
        // What the server has received and not carried out yet gets a moment to show.
        pause().await;
        // Boxed: it is rare, and would make the future of every call larger.
        let found = Box::pin(find_when_back(broker, &append.key, since, HashSet::from([id.clone()]))).await?;
        if let Some(&(_, entry)) = found.first() {
            return Ok(Placed { entry, epoch: None });
        }
    }
}

async fn append_one(broker: &dyn Broker, append: Append) -> Result<Appended, BrokerError> {
    let mut results = broker.append(vec![append]).await;
    results.pop().unwrap_or_else(|| Err(BrokerError::Protocol("no result for an append".into())))
}

/// Waits for the broker and says which of these messages are in the stream, appended at `since` or later.
pub(crate) async fn find_when_back(
    broker: &dyn Broker,
    key: &StreamKey,
    since: UnixMillis,
    mut wanted: HashSet<MessageId>,
) -> Result<Vec<(MessageId, EntryId)>, BrokerError> {
    let from = EntryId::new(since.0.saturating_sub(CLOCK_SLACK_MS), 0);
    let mut found = Vec::new();
    let mut to = EntryId::MAX;
    let mut looked_at = 0;
    while !wanted.is_empty() && to >= from {
        wait_until_up(broker).await;
        let range = Range { key: key.clone(), from, to, count: PAGE, newest_first: true };
        let page = match broker.range(range).await {
            Ok(page) => page,
            Err(error) if error.is_transient() => {
                pause().await;
                continue;
            }
            Err(error) => return Err(error),
        };
        for entry in &page {
            // What is malformed is not ours; the payload's bound is that of whoever wrote it.
            let Ok(message) = (Wire { payload_bytes_max: usize::MAX }).decode(&entry.fields) else { continue };
            if wanted.remove(&message.id) {
                found.push((message.id, entry.id));
            }
        }
        looked_at += page.len();
        let Some(last) = page.last().filter(|_| page.len() == PAGE) else { break };
        if looked_at >= LOOKED_AT_MAX {
            return Err(BrokerError::Interrupted {
                broker: key.as_str().into(),
                cause: "too many entries since to look for this one".into(),
            });
        }
        to = last.id.previous();
    }
    Ok(found)
}

/// Returns when calls are worth a try.
pub(crate) async fn wait_until_up(broker: &dyn Broker) {
    let mut health = broker.health();
    // A broker that is gone for good fails the next call, which says so better than this could.
    _ = health.wait_for(|health| health.is_up()).await;
}

/// Between two attempts at something that failed although the broker seems to be there.
pub(crate) async fn pause() {
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
}

impl From<TooLarge> for BrokerError {
    fn from(too_large: TooLarge) -> Self {
        Self::Refused { code: "TOOLARGE".into(), message: too_large.to_string().into() }
    }
}
