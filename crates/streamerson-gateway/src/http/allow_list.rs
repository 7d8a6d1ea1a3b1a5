//! Which HTTP headers pass between a request and its message, or a reply and its response.

use std::sync::Arc;

use axum::http::{HeaderName, header};
use streamerson_core::Headers;

/// What replies may set unless a route says otherwise.
pub(crate) const REPLY_HEADERS: [HeaderName; 5] =
    [header::LOCATION, header::ETAG, header::CACHE_CONTROL, header::RETRY_AFTER, header::LAST_MODIFIED];

/// Names of HTTP headers, each with the message header that carries it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct AllowList(Arc<[Allowed]>);

#[derive(Debug)]
pub(super) struct Allowed {
    pub(super) http: HeaderName,
    /// `http.header.<name>`, put together once and not for every request.
    pub(super) message: Box<str>,
}

impl AllowList {
    /// The list of [`REPLY_HEADERS`].
    pub(super) fn of_replies() -> Self {
        REPLY_HEADERS.into_iter().map(Allowed::new).collect()
    }

    /// The list of these names.
    ///
    /// # Errors
    ///
    /// A sentence about the first name that is no header name, or that belongs to the connection and so never passes.
    pub(super) fn parse<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Result<Self, String> {
        names.into_iter().map(|name| Allowed::parse(name.as_ref())).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Allowed> {
        self.0.iter()
    }
}

impl FromIterator<Allowed> for AllowList {
    fn from_iter<I: IntoIterator<Item = Allowed>>(allowed: I) -> Self {
        Self(allowed.into_iter().collect())
    }
}

impl Allowed {
    fn parse(name: &str) -> Result<Self, String> {
        let http = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is not a header name"))?;
        if is_of_the_connection(&http) {
            return Err(format!("the header {http} belongs to the connection and is never passed on"));
        }
        Ok(Self::new(http))
    }

    fn new(http: HeaderName) -> Self {
        let message = format!("{}{http}", Headers::HTTP_HEADER_PREFIX).into();
        Self { http, message }
    }
}

/// Whether a header of this name could pass.
///
/// # Errors
///
/// A sentence about why not.
#[cfg(feature = "server")]
pub(crate) fn check_header(name: &str) -> Result<(), String> {
    Allowed::parse(name).map(drop)
}

/// Headers about one connection or its framing (RFC 9110, section 7.6.1). `content-length` is one of them here: in
/// either direction it would speak of another body than the one that follows it.
fn is_of_the_connection(name: &HeaderName) -> bool {
    const NAMES: [HeaderName; 6] = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    NAMES.contains(name) || name == "keep-alive" || name.as_str().starts_with("proxy-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_paired_with_their_message_headers() {
        let list = AllowList::parse(["X-Request-Id", "cookie"]).unwrap();
        let message: Vec<_> = list.iter().map(|allowed| &*allowed.message).collect();
        assert_eq!(message, ["http.header.x-request-id", "http.header.cookie"]);
    }

    #[test]
    fn headers_of_the_connection_are_refused() {
        for bad in ["Connection", "keep-alive", "TE", "Trailer", "transfer-encoding", "upgrade", "Proxy-Authorization"]
        {
            assert!(AllowList::parse([bad]).unwrap_err().contains("connection"), "{bad}");
        }
        assert_eq!(AllowList::parse(["a", "b c"]).unwrap_err(), "\"b c\" is not a header name");
    }
}
