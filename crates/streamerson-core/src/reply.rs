//! Replies: what comes back for a request.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::{
    headers::Headers,
    message::Message,
    name::{EventType, MessageId},
    problem::Problem,
};

/// The answer to a request: a status, headers and a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// The HTTP status code; `None` leaves it to the reader: 200, or 204 at the edge when there is no payload.
    pub status: Option<StatusCode>,
    /// Whether the payload is a problem document that stands for a failure.
    pub is_error: bool,
    /// Names in lower case and texts; `status` is not among them.
    pub headers: Headers,
    /// Any bytes; JSON unless the `content-type` header says otherwise.
    pub payload: Bytes,
}

/// A reply that breaks the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidReply {
    /// It is some other message.
    #[error("the event type {0:?} is not that of a reply")]
    Event(EventType),
    /// Its `status` header is no status code.
    #[error("the status {0:?} is not an HTTP status code from 200 to 599")]
    Status(String),
}

impl Reply {
    /// A reply with this payload, JSON unless [`Reply::with_content_type`] says otherwise.
    #[must_use]
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self { status: None, is_error: false, headers: Headers::new(), payload: payload.into() }
    }

    /// The same reply with this status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    /// The same reply with this header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<Box<str>>) -> Self {
        self.headers.set(name, value);
        self
    }

    /// The same reply with this media type.
    #[must_use]
    pub fn with_content_type(self, media_type: &str) -> Self {
        self.with_header(Headers::CONTENT_TYPE, media_type)
    }

    /// The status, 200 when it was left open.
    #[must_use]
    pub fn status_or_ok(&self) -> StatusCode {
        self.status.unwrap_or(StatusCode::OK)
    }

    /// The problem document that this reply is, if it is an error whose payload is one; else one made of its status.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let status = self.status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        serde_json::from_slice(&self.payload).unwrap_or_else(|_| Problem::new(status))
    }

    /// The message that carries this reply to the request with this id.
    #[must_use]
    pub fn into_message(mut self, request: MessageId) -> Message {
        if let Some(status) = self.status {
            self.headers.set(Headers::STATUS, status.as_str());
        }
        Message {
            event: if self.is_error { EventType::ERROR } else { EventType::REPLY },
            id: request,
            inbox: None,
            deadline: None,
            headers: self.headers,
            payload: self.payload,
        }
    }

    /// The reply that a message carries.
    ///
    /// # Errors
    ///
    /// [`InvalidReply`] when the message is not a reply or its status is no status code of a final answer.
    pub fn from_message(message: Message) -> Result<Self, InvalidReply> {
        let Message { event, mut headers, payload, .. } = message;
        let is_error = event == EventType::ERROR;
        if !is_error && event != EventType::REPLY {
            return Err(InvalidReply::Event(event));
        }
        let status = match headers.remove(Headers::STATUS) {
            Some(text) => Some(final_status(&text).ok_or_else(|| InvalidReply::Status(text.into()))?),
            None => None,
        };
        Ok(Self { status, is_error, headers, payload })
    }
}

/// A reply as the value of a mark: a line of JSON with status, kind and headers, and the payload after it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredReply {
    /// The reply; `None` where only that there was one is kept, since it was too large.
    pub reply: Option<Reply>,
    /// The [fingerprint](Message::fingerprint) of the message that was answered; `None` where the mark does not have it.
    pub fingerprint: Option<String>,
}

impl StoredReply {
    /// A reply to a message with this fingerprint.
    #[must_use]
    pub fn new(reply: Option<Reply>, fingerprint: Option<String>) -> Self {
        Self { reply, fingerprint }
    }

    /// The value of a mark that keeps this reply.
    #[must_use]
    pub fn encode(reply: Option<&Reply>, fingerprint: Option<&str>) -> Bytes {
        let none = Headers::new();
        let head = StoredHead {
            status: reply.and_then(|reply| reply.status).map(|status| status.as_u16()),
            error: reply.is_some_and(|reply| reply.is_error),
            headers: Cow::Borrowed(reply.map_or(&none, |reply| &reply.headers)),
            kept: reply.is_some(),
            fingerprint: fingerprint.map(Cow::Borrowed),
        };
        // Texts and numbers always have a JSON form.
        let mut stored = serde_json::to_vec(&head).unwrap_or_default();
        stored.push(b'\n');
        stored.extend_from_slice(reply.map_or(&[], |reply| &reply.payload));
        stored.into()
    }

    /// The reply that the value of a mark keeps; `None` when something else wrote it.
    #[must_use]
    pub fn decode(stored: &Bytes) -> Option<Self> {
        // JSON has no line breaks inside of texts.
        let end = stored.iter().position(|byte| *byte == b'\n')?;
        let head: StoredHead<'_> = serde_json::from_slice(&stored[..end]).ok()?;
        let status = match head.status {
            Some(code) => Some(final_status(&code.to_string())?),
            None => None,
        };
        let (is_error, headers, payload) = (head.error, head.headers.into_owned(), stored.slice(end + 1..));
        let reply = head.kept.then_some(Reply { status, is_error, headers, payload });
        Some(Self { reply, fingerprint: head.fingerprint.map(Cow::into_owned) })
    }
}

/// What a mark says of a reply beside its payload.
#[derive(Serialize, Deserialize)]
struct StoredHead<'a> {
    status: Option<u16>,
    error: bool,
    headers: Cow<'a, Headers>,
    /// Absent where the reply is kept.
    #[serde(default = "kept", skip_serializing_if = "is_kept")]
    kept: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<Cow<'a, str>>,
}

fn kept() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_kept(kept: &bool) -> bool {
    *kept
}

/// 1xx codes are no answers, and past 599 HTTP defines nothing.
fn final_status(text: &str) -> Option<StatusCode> {
    StatusCode::from_bytes(text.as_bytes()).ok().filter(|status| (200..=599).contains(&status.as_u16()))
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Self {
        let mut reply = Self::new(problem.to_json()).with_status(problem.status).with_content_type(Problem::MEDIA_TYPE);
        reply.is_error = true;
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_round_trip_through_messages() {
        let reply = Reply::new("[]").with_status(StatusCode::CREATED).with_header("http.header.location", "/1");
        let message = reply.clone().into_message(MessageId::unique());
        assert_eq!(message.event, EventType::REPLY);
        assert_eq!(message.headers.get("status"), Some("201"));
        assert_eq!(Reply::from_message(message), Ok(reply));

        let error = Reply::from(Problem::new(StatusCode::CONFLICT));
        let message = error.clone().into_message(MessageId::unique());
        assert_eq!(message.event, EventType::ERROR);
        assert_eq!(Reply::from_message(message).unwrap().problem(), Problem::new(StatusCode::CONFLICT));
    }

    #[test]
    fn replies_round_trip_through_marks() {
        let error = Reply::from(Problem::new(StatusCode::CONFLICT));
        let strange = Reply::new(&b"\n\xff{\n"[..]).with_header("x", "a\nb");
        for reply in [Some(Reply::new("")), Some(strange), Some(error), None] {
            for fingerprint in [None, Some("9b1d")] {
                let stored = StoredReply::encode(reply.as_ref(), fingerprint);
                let expected = StoredReply::new(reply.clone(), fingerprint.map(str::to_owned));
                assert_eq!(StoredReply::decode(&stored), Some(expected));
            }
        }
        for other in ["", "\n", "{}\n", "[]", "{\"status\":99,\"error\":false,\"headers\":{}}\n"] {
            assert_eq!(StoredReply::decode(&Bytes::from(other)), None, "{other}");
        }
    }

    #[test]
    fn a_status_that_is_no_final_answer_is_refused() {
        for bad in ["", "abc", "99", "100", "600", "999", "2000"] {
            let message = Reply::new("").into_message(MessageId::unique()).with_header("status", bad);
            assert_eq!(Reply::from_message(message), Err(InvalidReply::Status(bad.into())));
        }
        let request = Message::new(EventType::new("x").unwrap(), "");
        assert!(matches!(Reply::from_message(request), Err(InvalidReply::Event(_))));
    }
}
