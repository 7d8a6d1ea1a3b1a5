//! Requests that a client may repeat: those with the same `Idempotency-Key` are handled once, and answered alike.
//!
//! The header is that of the IETF draft `draft-ietf-httpapi-idempotency-key-header`. What became of a request is
//! remembered in the broker, so that all gateways know it.

mod attempt;
mod key;
mod keyed_requests;
mod record;

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};
use streamerson_core::{EventType, Fingerprint, MessageId, Topic, mark_budget::MarkBudget};

pub(super) use self::attempt::run_idempotent;
use self::key::Invalid;
pub(crate) use self::keyed_requests::KeyedRequests;
use super::{refusal::Refusal, route::Accepted};
use crate::gateway::valid;

/// The header that names a request.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// How long a reply is kept unless a route says otherwise.
const TTL: Duration = Duration::from_secs(60 * 60);
/// Largest reply that is kept unless a route says otherwise, in bytes.
const REPLY_BYTES_MAX: usize = 16 * 1024;

/// How much of a hash an id has, in bytes: a handler's own messages get ids that are made of its request's id, which have to
/// fit too.
const ID_BYTES: usize = 24;
/// How much of a hash a fingerprint has, in bytes.
const FINGERPRINT_BYTES: usize = 32;

/// How a route treats the header `Idempotency-Key`; for [`Route::idempotent`](crate::Route::idempotent).
///
/// A client that does not know what became of its request sends it again with the same key, as a string in quotes
/// (`Idempotency-Key: "8e03978e"`) or bare. Then
///
/// - the first reply below 500 is what it gets, as long as that is kept: the request is not handled again;
/// - while the first is under way the answer is 409, with `Retry-After`;
/// - another method, path, query, content type or body under the same key is 422;
/// - a key that is none, or longer than 255 characters, is 400.
///
/// A reply from 500 on is not kept, nor is one that is larger than [`Idempotency::reply_bytes_max`], and after a timeout
/// nothing is known: then a repetition is sent on, under the same message id, which no other request has, not even one with
/// the same key. Consumers that remember what they have handled, by the layer `DeduplicateLayer` of the consumer crate,
/// answer it with the reply of the first; with others the handler runs again. After a timeout, and where a gateway dies,
/// repetitions are 409 until 2 s after the deadline. The key stands for its request all the while: another request under it
/// is 422 for as long as replies are kept, even if the first one failed.
///
/// The records of all requests of a topic take [`Idempotency::topic_bytes_max`] at most. While there is no room for another
/// reply, requests are 503 and not sent, except those whose reply is kept: they are answered as ever.
///
/// A client that hangs up does not stop a request with a key, so that its repetition finds the reply. A process that ends
/// waits for them by [`Gateway::finished`](crate::Gateway::finished).
///
/// Keys are the clients' to choose, so each [principal](Idempotency::principal) has keys of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "it does nothing until a route has it"]
pub struct Idempotency {
    pub(super) ttl: Duration,
    principal: Option<HeaderName>,
    required: bool,
    pub(super) reply_bytes_max: usize,
    pub(crate) topic_bytes_max: u64,
}

impl Default for Idempotency {
    fn default() -> Self {
        let topic_bytes_max = MarkBudget::BYTES_MAX_DEFAULT;
        Self { ttl: TTL, principal: None, required: false, reply_bytes_max: REPLY_BYTES_MAX, topic_bytes_max }
    }
}

impl Idempotency {
    /// Keeps replies for so long; one hour by default.
    pub fn within(ttl: Duration) -> Self {
        Self { ttl, ..Self::default() }
    }

    /// The header that says who is asking, `authorization` say, or one that a layer sets. Only a hash of it is kept.
    ///
    /// Without a principal all clients of a route share their keys: whoever guesses one gets the reply. So do those that
    /// do not send the header.
    ///
    /// # Panics
    ///
    /// When it is no header name.
    #[track_caller]
    pub fn principal(mut self, header: &str) -> Self {
        self.principal = Some(valid(header_name(header)));
        self
    }

    /// Whether a request without a key is refused with 400; by default it is handled as if there were no keys.
    pub fn required(mut self, required: bool) -> Self {
        self.required = required;
        self
    }

    /// Largest reply that is kept, headers included, in bytes; 16,384 by default.
    pub fn reply_bytes_max(mut self, bytes: usize) -> Self {
        self.reply_bytes_max = bytes;
        self
    }

    /// How many bytes the broker keeps of all requests with a key of the route's topic, whichever gateway and route they
    /// came through; 256 MiB by default. A request takes about 350 bytes and its reply, for as long as replies are kept, and
    /// room for a reply of [`reply_bytes_max`](Self::reply_bytes_max) is reserved before it is sent: with less than that in
    /// all, every request with a key is 503. All routes of a topic should agree on it.
    pub fn topic_bytes_max(mut self, bytes: u64) -> Self {
        self.topic_bytes_max = bytes;
        self
    }

    /// The room that a request with a key needs, its reply included, in bytes.
    #[cfg(feature = "server")]
    pub(crate) fn request_bytes_max(&self, topic: &Topic) -> u64 {
        let any = id(Fingerprint::new("id"))
            .map_or(0, |id| MarkBudget::bytes_of(&topic.idempotency_mark(&id), record::OPEN_LEN));
        any.saturating_add(self.reply_bytes_max as u64)
    }

    /// Whether the header is one that the key is made of.
    pub(super) fn relies_on(&self, header: &HeaderName) -> bool {
        *header == IDEMPOTENCY_KEY || self.principal.as_ref() == Some(header)
    }

    /// The key that a request has, if it has one.
    pub(super) fn key_of(&self, headers: &HeaderMap, topic: &Topic, event: &EventType) -> Result<Option<Key>, Refusal> {
        let key = match key::read(headers, &IDEMPOTENCY_KEY) {
            Ok(Some(key)) => key,
            Ok(None) if self.required => return Err(Refusal::KeyMissing),
            Ok(None) => return Ok(None),
            Err(Invalid(rule)) => return Err(Refusal::KeyInvalid(rule)),
        };
        let hash = Fingerprint::new("id").part(topic.to_string()).part(event.as_str()).part(key);
        // With its name, so that the values of two headers are two principals.
        let values =
            self.principal.iter().flat_map(|name| headers.get_all(name).iter().map(move |value| (name, value)));
        let hash = values.fold(hash, |hash, (name, value)| hash.part(name.as_str()).part(value));
        Ok(id(hash).map(|id| Key { id, terms: self.clone() }))
    }
}

/// The key of a request: one of each principal, topic and event type, whichever gateway it comes through.
pub(super) struct Key {
    id: MessageId,
    terms: Idempotency,
}

impl Key {
    /// The key with the request that came with it. `message_id` becomes the id that each repetition has.
    pub(super) fn of_request(self, request: &Accepted, message_id: &mut MessageId) -> Keyed {
        let Accepted { shard, headers, payload, .. } = request;
        let hash = Fingerprint::new("asked").request(headers, payload);
        // Where the topic is in shards, the shard is a part of the request.
        let hash = shard.iter().fold(hash, |hash, shard| hash.part(shard.to_string()));
        let fingerprint = hash.into_hex(FINGERPRINT_BYTES);
        // Another request has another id, also with this key: so a late reply to one is never the reply to another.
        if let Some(repeatable) = id(Fingerprint::new("message id").part(&*self.id).part(&fingerprint)) {
            *message_id = repeatable;
        }
        Keyed { key: self.id, terms: self.terms, fingerprint }
    }
}

/// A request with a key.
pub(super) struct Keyed {
    /// The id that stands for the key.
    key: MessageId,
    terms: Idempotency,
    fingerprint: String,
}

impl Keyed {
    /// The same request, whose reply has so many bytes at most.
    pub(super) fn with_reply_bytes_max(mut self, bytes: usize) -> Self {
        self.terms.reply_bytes_max = self.terms.reply_bytes_max.min(bytes);
        self
    }
}

/// An id made of a hash. Hexadecimal digits always are one.
fn id(hash: Fingerprint) -> Option<MessageId> {
    MessageId::new(hash.into_hex(ID_BYTES)).ok()
}

/// A header's name.
pub(crate) fn header_name(name: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is not a header name"))
}
