//! Requests that a client may repeat: those with the same `Idempotency-Key` are handled once, and answered alike.
//!
//! The header is that of the IETF draft `draft-ietf-httpapi-idempotency-key-header`. What became of a request is
//! remembered in the broker, so that all gateways know it.

mod attempt;
mod key;
mod record;

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};
use streamerson_core::{EventType, Fingerprint, MessageId, Topic, mark_budget::MarkBudget};

pub(super) use self::attempt::{fingerprint, run_idempotent};
use self::key::Invalid;
use super::refusal::Refusal;
use crate::gateway::valid;

/// The header that names a request.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// How long a reply is kept unless a route says otherwise.
const TTL: Duration = Duration::from_secs(60 * 60);
/// Largest reply that is kept unless a route says otherwise, in bytes.
const REPLY_BYTES_MAX: usize = 16 * 1024;

/// How much of the hash the message id has, in bytes: what a handler emits gets an id made of it, and that has to fit too.
const ID_BYTES: usize = 24;

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
/// nothing is known: then a repetition is sent on, under the same message id. Consumers that remember what they have
/// handled, by the layer `DeduplicateLayer` of the consumer crate, answer it with the reply of the first; with others the
/// handler runs again. After a timeout, and where a gateway dies, repetitions are 409 until 2 s after the deadline. The key
/// stands for its request all the while: another request under it is 422 for as long as replies are kept, even if the
/// first one failed.
///
/// The records of all requests of a topic take [`Idempotency::topic_bytes_max`] at most; past that, requests with a new
/// key are 503, and those with a known key are answered as ever.
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
    pub(super) topic_bytes_max: u64,
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
    /// came through; 256 MiB by default. A request takes about 350 bytes and its reply, for as long as replies are kept.
    /// All routes of a topic should agree on it.
    pub fn topic_bytes_max(mut self, bytes: u64) -> Self {
        self.topic_bytes_max = bytes;
        self
    }

    /// Whether the header is one that the message id is made of.
    pub(super) fn relies_on(&self, header: &HeaderName) -> bool {
        *header == IDEMPOTENCY_KEY || self.principal.as_ref() == Some(header)
    }

    /// The message id that a request has because of its key; `None` without a key.
    ///
    /// One key of one principal is one message on each topic and for each event type, whichever gateway it comes through.
    pub(super) fn message_id(
        &self,
        headers: &HeaderMap,
        topic: &Topic,
        event: &EventType,
    ) -> Result<Option<MessageId>, Refusal> {
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
        let id = values.fold(hash, |hash, (name, value)| hash.part(name.as_str()).part(value)).into_hex(ID_BYTES);
        // Hexadecimal digits always are an id.
        Ok(MessageId::new(id).ok())
    }
}

/// A header's name.
pub(crate) fn header_name(name: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is not a header name"))
}
