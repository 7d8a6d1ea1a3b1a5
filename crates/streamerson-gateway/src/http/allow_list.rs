//! Which HTTP headers pass between a request and its message, or a reply and its response.

use std::sync::Arc;

use axum::http::{HeaderName, header};
use streamerson_core::{Headers, http_header::is_of_the_connection};

/// What replies may set unless a route says otherwise.
pub(crate) const REPLY_HEADERS: [HeaderName; 5] =
    [header::LOCATION, header::ETAG, header::CACHE_CONTROL, header::RETRY_AFTER, header::LAST_MODIFIED];

/// In a list, all that is not named and is no credential.
pub(crate) const THE_REST: &str = "*";

/// Names of HTTP headers, each with the message header that carries it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct AllowList {
    named: Arc<[Allowed]>,
    /// Whether headers pass that nobody named.
    rest: bool,
}

#[derive(Debug)]
pub(super) struct Allowed {
    pub(super) http: HeaderName,
    /// `http.header.<name>`, put together once and not for every request.
    pub(super) message: Box<str>,
}

impl AllowList {
    /// The list of [`REPLY_HEADERS`].
    pub(super) fn of_replies() -> Self {
        Self { named: REPLY_HEADERS.into_iter().map(Allowed::new).collect(), rest: false }
    }

    /// The list of [`THE_REST`] alone.
    pub(super) fn of_the_rest() -> Self {
        Self { named: Arc::default(), rest: true }
    }

    /// The list of these names, of which one may be [`THE_REST`].
    ///
    /// # Errors
    ///
    /// A sentence about the first name that is no header name, or that belongs to the connection and so never passes.
    pub(super) fn parse<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Result<Self, String> {
        let (mut named, mut rest) = (Vec::new(), false);
        for name in names {
            match name.as_ref() {
                THE_REST => rest = true,
                name => named.push(Allowed::parse(name)?),
            }
        }
        Ok(Self { named: named.into(), rest })
    }

    /// Those that are named.
    pub(super) fn named(&self) -> impl Iterator<Item = &Allowed> {
        self.named.iter()
    }

    /// Whether the list names the header.
    pub(super) fn names(&self, header: &HeaderName) -> bool {
        self.named.iter().any(|allowed| allowed.http == *header)
    }

    /// Whether headers pass that nobody named.
    pub(super) fn has_the_rest(&self) -> bool {
        self.rest
    }

    /// Whether a header passes that nobody named. The content type does not, as it always has a place of its own.
    pub(super) fn takes_unnamed(&self, name: &HeaderName) -> bool {
        self.rest
            && *name != header::CONTENT_TYPE
            && !is_of_the_connection(name)
            && !is_credential(name)
            && !self.names(name)
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
    AllowList::parse([name]).map(drop)
}

/// What lets whoever reads it act as the client. It would be kept in streams and dead letters, so it must be asked for.
fn is_credential(name: &HeaderName) -> bool {
    [header::AUTHORIZATION, header::COOKIE, header::SET_COOKIE].contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_paired_with_their_message_headers() {
        let list = AllowList::parse(["X-Request-Id", "cookie"]).unwrap();
        let message: Vec<_> = list.named().map(|allowed| &*allowed.message).collect();
        assert_eq!(message, ["http.header.x-request-id", "http.header.cookie"]);
        assert!(!list.takes_unnamed(&header::ACCEPT));
    }

    #[test]
    fn the_rest_is_all_but_credentials_and_what_is_of_the_connection() {
        let list = AllowList::parse(["cookie", "*"]).unwrap();
        for name in [header::ACCEPT, header::HOST, header::RANGE, HeaderName::from_static("x-api-version")] {
            assert!(list.takes_unnamed(&name), "{name}");
        }
        for name in [
            header::AUTHORIZATION,
            header::SET_COOKIE,
            header::PROXY_AUTHORIZATION,
            header::TRANSFER_ENCODING,
            header::CONTENT_LENGTH,
            header::UPGRADE,
            header::CONTENT_TYPE,
        ] {
            assert!(!list.takes_unnamed(&name), "{name}");
        }
        assert!(!list.takes_unnamed(&header::COOKIE), "it is named, so it passes as such");
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
