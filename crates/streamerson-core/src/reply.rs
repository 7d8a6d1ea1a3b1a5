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

    /// The reply as the value of a mark: a line of JSON with status, kind and headers, and the payload after it.
    #[must_use]
    pub fn to_stored(&self) -> Bytes {
        let head = Stored {
            status: self.status.map(|status| status.as_u16()),
            error: self.is_error,
            headers: Cow::Borrowed(&self.headers),
        };
        // Texts and numbers always have a JSON form.
        let mut stored = serde_json::to_vec(&head).unwrap_or_default();
        stored.push(b'\n');
        stored.extend_from_slice(&self.payload);
        stored.into()
    }

    /// The reply that a mark holds; `None` when something else wrote it.
    #[must_use]
    pub fn from_stored(stored: &Bytes) -> Option<Self> {
        // JSON has no line breaks inside of texts.
        let end = stored.iter().position(|byte| *byte == b'\n')?;
        let head: Stored<'_> = serde_json::from_slice(&stored[..end]).ok()?;
        let status = match head.status {
            Some(code) => Some(final_status(&code.to_string())?),
            None => None,
        };
        let headers = head.headers.into_owned();
        Some(Self { status, is_error: head.error, headers, payload: stored.slice(end + 1..) })
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

/// What a mark says of a reply beside its payload.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    status: Option<u16>,
    error: bool,
    headers: Cow<'a, Headers>,
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
        for reply in [Reply::new(""), strange, error] {
            assert_eq!(Reply::from_stored(&reply.to_stored()), Some(reply));
        }
        for other in ["", "\n", "{}\n", "[]", "{\"status\":99,\"error\":false,\"headers\":{}}\n"] {
            assert_eq!(Reply::from_stored(&Bytes::from(other)), None, "{other}");
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
