//! The body of an HTTP request: read within bounds, and checked before anything is sent.

use std::{error::Error, time::Duration};

use axum::{
    body::{Body, HttpBody, to_bytes},
    http::{HeaderMap, Method, header},
};
use bytes::Bytes;
use http_body_util::LengthLimitError;
use serde::de::IgnoredAny;
use streamerson_core::is_json_type;

use super::refusal::Refusal;

/// What a check looks at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Payload<'a> {
    pub(super) method: &'a Method,
    pub(super) media_type: Option<&'a str>,
    pub(super) bytes: &'a [u8],
}

/// Says whether a payload may be sent. Each kind of route has its own.
pub(super) type Check = fn(Payload<'_>) -> Result<(), Refusal>;

/// The length that the client announced; zero when it announced none.
pub(super) fn announced_len(headers: &HeaderMap, body: &Body) -> u64 {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    // The body knows it too where the server told it, even when a layer took the header away.
    length.unwrap_or(0).max(body.size_hint().lower())
}

/// Reads a whole body of at most `bytes_max` bytes, within `timeout`.
pub(super) async fn read(body: Body, announced: u64, bytes_max: usize, timeout: Duration) -> Result<Bytes, Refusal> {
    // Refused before the first byte is read: a client that waits for `100 Continue` never sends it.
    if !usize::try_from(announced).is_ok_and(|announced| announced <= bytes_max) {
        return Err(Refusal::BodyTooLarge);
    }
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    match tokio::time::timeout(timeout, to_bytes(body, bytes_max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_length_limit(&error) => Err(Refusal::BodyTooLarge),
        Ok(Err(error)) => {
            tracing::debug!(%error, "the body of a request could not be read");
            Err(Refusal::BodyCut)
        }
        Err(_) => Err(Refusal::BodyStalled),
    }
}

/// Whether the bound was exceeded: this route's, or that of a limit layer around it.
fn is_length_limit(error: &axum::Error) -> bool {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = source {
        if error.is::<LengthLimitError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// What says that it is JSON must be; anything else passes unread.
pub(super) fn check_json(payload: Payload<'_>) -> Result<(), Refusal> {
    let Payload { method, media_type, bytes } = payload;
    if !media_type.is_some_and(is_json_type) || (bytes.is_empty() && may_lack_a_body(method)) {
        return Ok(());
    }
    serde_json::from_str::<IgnoredAny>(json_text(bytes)?)
        .map(|_| ())
        .map_err(|error| Refusal::NotJson(error.to_string()))
}

/// JSON is UTF-8, and the parser skips what is not wanted without a look at its encoding.
pub(super) fn json_text(bytes: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(bytes).map_err(|_| Refusal::NotJson("it is not UTF-8".to_owned()))
}

/// Clients set a content type on every request, those without content included.
fn may_lack_a_body(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &Method, media_type: Option<&str>, bytes: &[u8]) -> bool {
        check_json(Payload { method, media_type, bytes }).is_ok()
    }

    #[test]
    fn json_is_checked_where_the_type_says_so() {
        let json = Some("application/json; charset=utf-8");
        for good in [&b"{}"[..], b" [1, 2] ", b"null", b"\"\\ud800\""] {
            assert!(check(&Method::POST, json, good), "{good:?}");
        }
        for bad in [&b""[..], b"{", b"{} x", b"\"\xff\"", b"\xef\xbb\xbf{}", b"NaN"] {
            assert!(!check(&Method::POST, json, bad), "{bad:?}");
            assert!(!check(&Method::POST, Some("application/ld+json"), bad), "{bad:?}");
            assert!(check(&Method::POST, Some("text/plain"), bad), "{bad:?}");
            assert!(check(&Method::POST, None, bad), "{bad:?}");
        }
    }

    #[test]
    fn a_deep_document_does_not_exhaust_the_stack() {
        let deep = ["[".repeat(100_000), "]".repeat(100_000)].concat();
        assert!(check(&Method::POST, Some("application/json"), deep.as_bytes()));
    }

    #[test]
    fn no_body_is_no_bad_body_where_none_is_expected() {
        for method in [Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS] {
            assert!(check(&method, Some("application/json"), b""));
        }
        assert!(!check(&Method::PUT, Some("application/json"), b""));
    }
}
