//! Replies as HTTP responses.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use streamerson_core::{Headers, Reply};

use super::allow_list::AllowList;

/// The response that a reply stands for. Its status is the consumer's; of its headers those in `allow` pass.
pub(super) fn response(reply: Reply, allow: &AllowList) -> Response {
    let status = status(&reply);
    let mut headers = HeaderMap::new();
    for allowed in allow.iter() {
        if let Some(value) = reply.headers.get(&allowed.message).and_then(|value| header_value(&allowed.message, value))
        {
            headers.insert(&allowed.http, value);
        }
    }
    // These statuses mean that nothing follows, and HTTP/1.1 clients would take what does as the next response.
    let payload = match status {
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED => None,
        _ => Some(reply.payload),
    };
    if let Some(payload) = &payload {
        let sent = reply.headers.get(Headers::CONTENT_TYPE);
        let sent = sent.and_then(|value| header_value(Headers::CONTENT_TYPE, value));
        let default = || (!payload.is_empty()).then(|| HeaderValue::from_static("application/json"));
        if let Some(media_type) = sent.or_else(default) {
            headers.insert(header::CONTENT_TYPE, media_type);
        }
    }
    let mut response = Response::new(payload.map_or_else(Body::empty, Body::from));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The consumer's status. One that left it open means that all went well, unless it says that it did not.
fn status(reply: &Reply) -> StatusCode {
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
