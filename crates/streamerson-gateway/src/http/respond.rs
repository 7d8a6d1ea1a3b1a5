//! Replies as HTTP responses.

use std::convert::Infallible;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use futures_util::stream;
use streamerson_core::{
    Headers, MessageId, Reply,
    http_header::{split, take_named_by_connection},
};

use super::allow_list::AllowList;

/// What a response depends on besides its reply.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms<'a> {
    /// The headers that may be set.
    pub(super) allow: &'a AllowList,
    /// Whether the reply is a whole HTTP response, so that what it lacks it lacks on purpose.
    pub(super) whole: bool,
    /// Whether only the head was asked for.
    pub(super) head_only: bool,
}

/// The response that the reply to a message stands for. Its status is the consumer's, and of its headers those pass that
/// may.
pub(super) fn response(reply: &Reply, id: &MessageId, terms: Terms<'_>) -> Response {
    let status = status(reply);
    let mut headers = response_headers(&reply.headers, terms.allow);
    // These statuses mean that nothing follows, and HTTP/1.1 clients would take what does as the next response.
    let has_body = !matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
    if let Some(media_type) = media_type(reply).filter(|_| has_body || terms.whole) {
        headers.insert(header::CONTENT_TYPE, media_type);
    } else if has_body && !terms.whole && !reply.payload.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let left_out = terms.head_only && reply.payload.is_empty();
    if let Some(length) = left_out.then(|| length(&reply.headers)).flatten() {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    let body = if left_out && terms.whole {
        // How long it would be may be unknown, and then it must not look as if it were nothing.
        Body::from_stream(stream::empty::<Result<Bytes, Infallible>>())
    } else if has_body {
        // A payload is a slice of what was read from the broker together with other replies. All of that would stay in
        // memory as long as one slow client takes its response, and count as this one.
        Body::from(Bytes::copy_from_slice(&reply.payload))
    } else {
        Body::empty()
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.extensions_mut().insert(id.clone());
    response
}

fn response_headers(reply: &Headers, allow: &AllowList) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for allowed in allow.named() {
        if let Some(text) = reply.get(&allowed.message) {
            append(&mut headers, &allowed.http, text);
        }
    }
    if allow.has_the_rest() {
        for (name, text) in reply.with_prefix(Headers::HTTP_HEADER_PREFIX) {
            match HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) if allow.takes_unnamed(&name) => append(&mut headers, &name, text),
                Ok(name) => tracing::trace!(%name, "a header of a reply does not pass this route"),
                Err(_) => tracing::debug!(name, "a header of a reply has no valid name and was left out"),
            }
        }
    }
    // What a reply says of a connection is about another one, and so is what it names there.
    if let Some(connection) = reply.get("http.header.connection").and_then(|text| HeaderValue::from_str(text).ok()) {
        headers.insert(header::CONNECTION, connection);
        take_named_by_connection(&mut headers);
        headers.remove(header::CONNECTION);
    }
    headers
}

/// Adds the values that a text carries: at most as many as fit in the headers of a message.
fn append(headers: &mut HeaderMap, name: &HeaderName, text: &str) {
    for value in split(name, text).filter_map(|value| header_value(name.as_str(), value)) {
        headers.append(name, value);
    }
}

/// The length of what a `HEAD` did not ask to be sent.
fn length(reply: &Headers) -> Option<u64> {
    reply.get("http.header.content-length")?.parse().ok()
}

/// The type that the reply says it has. One that is none does not make it JSON.
fn media_type(reply: &Reply) -> Option<HeaderValue> {
    let said = reply.headers.get(Headers::CONTENT_TYPE)?;
    let valid = header_value(Headers::CONTENT_TYPE, said);
    Some(valid.unwrap_or(HeaderValue::from_static("application/octet-stream")))
}

/// The consumer's status. One that left it open means that all went well, unless it says that it did not.
pub(super) fn status(reply: &Reply) -> StatusCode {
    match reply.status {
        Some(status) => status,
        None if reply.is_error => {
            let status = reply.problem().status;
            let is_failure = status.is_client_error() || status.is_server_error();
            if is_failure { status } else { StatusCode::INTERNAL_SERVER_ERROR }
        }
        None if reply.payload.is_empty() => StatusCode::NO_CONTENT,
        None => StatusCode::OK,
    }
}

/// A text as the value of a header, unless it holds a line break or another control character.
fn header_value(name: &str, value: &str) -> Option<HeaderValue> {
    let parsed = HeaderValue::from_bytes(value.as_bytes()).ok();
    if parsed.is_none() {
        tracing::debug!(name, "a header of a reply is not a valid HTTP header and was left out");
    }
    parsed
}
