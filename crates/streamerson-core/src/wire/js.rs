//! The original's format, as `@streamerson/core` 0.0.19 writes and reads it.
//!
//! An entry is eight values without names, which Redis takes as four names with their values: message id, event type;
//! reply key or empty, headers as JSON or `nil`; `json` or `text`, source id; the word `UnoccupiedField`, payload.
//!
//! A reply has the type `resp`. What the format has no place for goes into the headers, which the original's programs
//! read and make nothing of: a reply's `status`, a request's deadline as `deadline`. That a reply is an error is told
//! by its content type. The header `source` is the source id.
//!
//! The original's `Writable` calls everything `resp`, events and requests too. So `resp` is an event type like any other,
//! and a reply is whatever comes in the stream of replies under the id of a request, as it is for the original's client.

use bytes::Bytes;
use bytestring::ByteString;
use serde::de::IgnoredAny;

use super::{
    HEADERS_BYTES_MAX, LINE, Malformed, Part, TooLarge, decode_deadline, decode_headers, encode_headers, within,
};
use crate::{
    entry::Fields,
    headers::Headers,
    message::{Message, UnixMillis, is_json_type},
    name::{EventType, MessageId, Name},
    problem::Problem,
    topic::{StreamKey, Topic},
};

/// The name of the last field, by which the format is known.
const UNOCCUPIED: &[u8] = b"UnoccupiedField";
const NO_HEADERS: &[u8] = b"nil";
/// The event type of every reply in the original's format, where replies lie among the events for everyone.
pub const REPLY: &str = "resp";
const JSON: &[u8] = b"json";
const TEXT: &[u8] = b"text";
/// The header that holds the deadline.
const DEADLINE: &str = "deadline";
const TEXT_TYPE: &str = "text/plain";
/// JSON that nests deeper is sent as text. The original parses any depth, and ends where it writes some thousands again.
const JSON_DEPTH_MAX: usize = 128;

/// Whether these are fields of this format.
pub(super) fn is_js(fields: &Fields) -> bool {
    fields.len() == 4 && fields.iter().last().is_some_and(|(name, _)| name == UNOCCUPIED) && fields.get(LINE).is_none()
}

/// The fields that carry a message. A header `deadline` of the user's is not carried.
pub(super) fn encode(message: &Message, topic: &Topic, payload_bytes_max: usize) -> Result<Fields, TooLarge> {
    let Message { event, id, inbox, deadline, headers, payload } = message;
    within(Part::Payload, payload.len(), payload_bytes_max)?;
    let mut headers = headers.clone();
    let source = headers.remove(Headers::SOURCE).map_or_else(Bytes::new, |source| Bytes::from(String::from(source)));
    within(Part::Headers, source.len(), HEADERS_BYTES_MAX)?;
    headers.remove(DEADLINE);
    if let Some(deadline) = deadline {
        headers.set(DEADLINE, (*deadline).min(UnixMillis::MAX).to_string());
    }
    if *event == EventType::ERROR {
        headers.set(Headers::CONTENT_TYPE, Problem::MEDIA_TYPE);
    }
    let protocol = if is_json(&headers, payload) { JSON } else { TEXT };
    let event =
        if event.is_reply() { Bytes::from_static(REPLY.as_bytes()) } else { event.clone().into_text().into_bytes() };
    let reply_key = match inbox {
        Some(inbox) => Bytes::from(topic.inbox(inbox).as_str().to_owned()),
        None => Bytes::new(),
    };
    let headers = match encode_headers(&headers)? {
        none if none.is_empty() => Bytes::from_static(NO_HEADERS),
        json => json,
    };
    Ok(Fields::from(vec![
        (id.clone().into_text().into_bytes(), event),
        (reply_key, headers),
        (Bytes::from_static(protocol), source),
        (Bytes::from_static(UNOCCUPIED), payload.clone()),
    ]))
}

/// The message, if its reply can go where it is wanted: to the stream of this topic, or where none is given, of any.
pub(super) fn decode(fields: &Fields, topic: Option<&Topic>, payload_bytes_max: usize) -> Result<Message, Malformed> {
    let (mut message, reply_key) =
        read(fields, payload_bytes_max, |event| Ok(EventType::new(text("event type", event)?)?))?;
    let is_own = reply_key.is_empty()
        || match topic {
            Some(topic) => topic.is_js() && reply_key == topic.outbound().as_str(),
            None => is_reply_key(&reply_key),
        };
    if !is_own {
        // What replies say of themselves is where their writer reads, and nobody answers them there.
        if message.event.as_str() != REPLY {
            return Err(Malformed::ReplyKey);
        }
        message.inbox = None;
    }
    Ok(message)
}

/// What comes in the stream of replies, as the reply that it is to whoever waits for its id.
pub(super) fn decode_reply(fields: &Fields, payload_bytes_max: usize) -> Result<Message, Malformed> {
    let (message, _) = read(fields, payload_bytes_max, |_| Ok(EventType::REPLY))?;
    let event = if is_problem(&message.headers) { EventType::ERROR } else { message.event };
    Ok(Message { event, inbox: None, deadline: None, ..message })
}

/// The message, and the key where its reply is wanted, empty for none.
fn read(
    fields: &Fields,
    payload_bytes_max: usize,
    event_type: impl FnOnce(&Bytes) -> Result<EventType, Malformed>,
) -> Result<(Message, ByteString), Malformed> {
    let mut pairs = fields.iter();
    let mut pair = || pairs.next().ok_or(Malformed::NoLine);
    let ((id, event), (reply_key, headers), (protocol, source), (_, payload)) = (pair()?, pair()?, pair()?, pair()?);
    within(Part::Payload, payload.len(), payload_bytes_max)?;
    within(Part::Headers, source.len(), HEADERS_BYTES_MAX)?;
    let reply_key = text("reply key", reply_key)?;
    let mut headers = if headers == NO_HEADERS { Headers::new() } else { decode_headers(headers)? };
    match &protocol[..] {
        JSON => {}
        TEXT if headers.get(Headers::CONTENT_TYPE).is_some() || payload.is_empty() => {}
        TEXT => headers.set(Headers::CONTENT_TYPE, TEXT_TYPE),
        _ => return Err(Malformed::Protocol),
    }
    let deadline = headers.remove(DEADLINE).map_or(Ok(None), |deadline| decode_deadline(&deadline))?;
    headers.remove(Headers::SOURCE);
    let source = text("source id", source)?;
    if !source.is_empty() {
        headers.set(Headers::SOURCE, &*source);
    }
    let message = Message {
        event: event_type(event)?,
        id: MessageId::new(text("message id", id)?)?,
        inbox: (!reply_key.is_empty()).then_some(Name::SHARED_INBOX),
        deadline,
        headers,
        payload: payload.clone(),
    };
    Ok((message, reply_key))
}

fn text(what: &'static str, bytes: &Bytes) -> Result<ByteString, Malformed> {
    ByteString::try_from(bytes.clone()).map_err(|_| Malformed::NotText(what))
}

fn is_reply_key(key: &ByteString) -> bool {
    let key = StreamKey::raw(key.clone());
    key.js_topic().is_some_and(|topic| topic.outbound() == key)
}

/// The original parses what is said to be JSON, and its reader ends where that fails: so it is said only of what is.
fn is_json(headers: &Headers, payload: &[u8]) -> bool {
    headers.get(Headers::CONTENT_TYPE).is_none_or(is_json_type)
        && str::from_utf8(payload).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
        && depth(payload) <= JSON_DEPTH_MAX
}

/// How deep arrays and objects nest in what is JSON.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn is_problem(headers: &Headers) -> bool {
    let media_type = headers.get(Headers::CONTENT_TYPE).and_then(|value| value.split(';').next());
    media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(Problem::MEDIA_TYPE))
}

#[cfg(test)]
#[path = "js_tests.rs"]
mod tests;
