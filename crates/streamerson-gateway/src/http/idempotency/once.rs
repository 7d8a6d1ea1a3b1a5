//! A request with a key, from its mark to its reply.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use streamerson_core::{BrokerError, Headers, MarkKey, MessageId, Name, Reply, broker::Mark, client::CallError};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    key::Hash,
    mark::{self, Found},
};
use crate::http::{
    refusal::Refusal,
    respond,
    route::{Accepted, Settings},
};

/// How long after its deadline a request counts as being handled: a call may end a little later.
const GRACE: Duration = Duration::from_secs(2);
/// How long a reply may wait for being stored.
const STORED_WITHIN: Duration = Duration::from_secs(1);
/// The pause before a question is asked again whose answer was lost.
const PAUSE: Duration = Duration::from_millis(50);
/// How much of a hash says what was asked, in bytes.
const ASKED_BYTES: usize = 32;

/// Whose turn it is.
enum Turn {
    /// Nobody is at it, and nobody was.
    Ours,
    /// It was answered.
    Answered(Reply),
}

/// One try of a request that has a key.
struct Attempt {
    settings: Arc<Settings>,
    key: MarkKey,
    /// The hash of what is asked.
    asked: String,
    /// A name for this try, so that its mark is known again.
    name: Name,
}

/// The reply to a request with a key: the one that it had before, or what `send` comes to. What was begun runs to its end
/// even if nobody waits for it any more: a mark that nobody answers for would keep whoever asks again waiting.
pub(in crate::http) async fn once<F>(
    settings: Arc<Settings>,
    id: &MessageId,
    asked: String,
    deadline: Instant,
    send: F,
) -> Result<Reply, Refusal>
where
    F: Future<Output = Result<Reply, CallError>> + Send + 'static,
{
    let key = settings.topic.idempotency_mark(id);
    let repeatable = settings.repeatable.clone();
    let attempt = Attempt { settings, key, asked, name: Name::unique() };
    match repeatable.spawn(attempt.run(deadline, send)).await {
        Ok(result) => result,
        // The process is going down.
        Err(_) => Err(CallError::Closed.into()),
    }
}

/// The hash of what a request asks for: whatever makes two requests different to a consumer, but for headers that are
/// forwarded, as those may differ from one try to the next. Where its topic is in shards, the shard is a part of it.
pub(in crate::http) fn asked(Accepted { shard, headers, payload }: &Accepted) -> String {
    let names = [Headers::HTTP_METHOD, Headers::HTTP_PATH, Headers::HTTP_QUERY, Headers::CONTENT_TYPE];
    let head = names.into_iter().fold(Hash::new("asked"), |hash, name| {
        // What is not there is not what is empty.
        let value = headers.get(name);
        hash.part(if value.is_some() { "1" } else { "0" }).part(value.unwrap_or_default())
    });
    shard.iter().fold(head.part(payload), |hash, shard| hash.part(shard.to_string())).into_hex(ASKED_BYTES)
}

impl Attempt {
    async fn run(
        self,
        deadline: Instant,
        send: impl Future<Output = Result<Reply, CallError>>,
    ) -> Result<Reply, Refusal> {
        match timeout_at(deadline, self.begin(deadline)).await {
            Ok(Ok(Turn::Ours)) => {
                let result = send.await;
                self.end(&result).await;
                Ok(result?)
            }
            Ok(Ok(Turn::Answered(reply))) => {
                tracing::debug!(key = %self.key, "answered before");
                Ok(reply)
            }
            Ok(Err(refusal)) => Err(refusal),
            Err(_) => Err(CallError::TimedOut(self.settings.timeout).into()),
        }
    }

    /// Finds out whose turn it is, and says that it is ours if it is nobody's.
    async fn begin(&self, deadline: Instant) -> Result<Turn, Refusal> {
        let broker = self.settings.client.broker();
        let value = mark::under_way(&self.asked, self.name.as_str());
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mark = Mark { key: self.key.clone(), value: value.clone(), ttl: left + GRACE };
            let found = match broker.mark_if_absent(mark).await {
                Ok(None) => return Ok(Turn::Ours),
                Ok(Some(found)) => found,
                Err(BrokerError::Interrupted { .. }) => {
                    sleep(PAUSE).await;
                    continue;
                }
                Err(error) => return Err(CallError::from(error).into()),
            };
            return match mark::read(&found) {
                // Set by a question whose answer was lost.
                Found::UnderWay { attempt, .. } if attempt == self.name.as_str() => Ok(Turn::Ours),
                Found::UnderWay { asked, .. } if asked == self.asked => Err(Refusal::UnderWay),
                Found::Answered { asked, reply } if asked == self.asked => Ok(Turn::Answered(reply)),
                Found::UnderWay { .. } | Found::Answered { .. } => Err(Refusal::KeyReused),
                Found::Foreign => {
                    tracing::debug!(key = %self.key, "the mark of a request was written by something else");
                    self.mark(value.clone(), left + GRACE).await;
                    Ok(Turn::Ours)
                }
            };
        }
    }

    /// Keeps the reply, or lets the next one try; where the request may still be handled, not before its deadline.
    async fn end(&self, result: &Result<Reply, CallError>) {
        let idempotency = self.settings.idempotency.as_ref();
        match result {
            Ok(reply) if !respond::status(reply).is_server_error() => {
                let mark = mark::answered(&self.asked, reply);
                match idempotency.filter(|idempotency| mark.len() <= idempotency.reply_bytes_max) {
                    Some(idempotency) => self.mark(mark, idempotency.ttl).await,
                    None => self.forget().await,
                }
            }
            // It may be under way.
            Err(
                CallError::TimedOut(_)
                | CallError::DuplicateId(_)
                | CallError::Closed
                | CallError::Broker(BrokerError::Interrupted { .. }),
            ) => {}
            Ok(_) | Err(_) => self.forget().await,
        }
    }

    async fn forget(&self) {
        self.mark(mark::under_way(&self.asked, self.name.as_str()), Duration::from_millis(1)).await;
    }

    /// Sets the mark. Where that fails, it goes by itself.
    async fn mark(&self, value: Bytes, ttl: Duration) {
        let mark = Mark { key: self.key.clone(), value, ttl };
        match timeout(STORED_WITHIN, self.settings.client.broker().mark(mark)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(key = %self.key, %error, "what became of a request is not remembered"),
            Err(_) => tracing::debug!(key = %self.key, "what became of a request may not be remembered"),
        }
    }
}
