//! Headers that a request's `Connection` names.
//!
//! They end at this hop (RFC 9110, section 7.6.1), so they are removed, once and before anything reads the request. A client
//! could abuse that: a proxy in front that adds a header and passes the client's `Connection` on would see its header
//! removed here. So a request that names a header which its route needs is refused.

use std::sync::Arc;

use axum::{extract::Request, http::HeaderName};
use streamerson_core::http_header::{NamedByConnection, take_named_by_connection};

use super::refusal::Refusal;

/// How a route uses a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderUse {
    /// The route names it: to forward it, or to tell principals, shards or requests apart by it.
    Needed,
    /// The route forwards it where it is there: as trace context, or as one of all headers.
    ForwardedIfSent,
    /// The route does not look at it.
    Ignored,
}

/// The headers that were removed from a request, or would have been: an extension of the request, where there are any.
#[derive(Debug, Clone)]
struct Removed(Arc<[NamedByConnection]>);

/// Removes the headers that `Connection` names, unless that was done before.
pub(crate) fn strip(request: &mut Request) {
    if request.extensions().get::<Removed>().is_some() {
        return;
    }
    let named = take_named_by_connection(request.headers_mut());
    if !named.is_empty() {
        request.extensions_mut().insert(Removed(named.into()));
    }
}

/// Refuses a request whose `Connection` names a header that its route needs, or one that it would have forwarded.
pub(super) fn check(request: &Request, use_of: impl Fn(&HeaderName) -> HeaderUse) -> Result<(), Refusal> {
    let Some(Removed(named)) = request.extensions().get() else { return Ok(()) };
    let is_refused = |named: &&NamedByConnection| match use_of(&named.name) {
        HeaderUse::Needed => true,
        HeaderUse::ForwardedIfSent => named.was_there,
        HeaderUse::Ignored => false,
    };
    match named.iter().find(is_refused) {
        Some(named) => Err(Refusal::HopByHop(named.name.clone())),
        None => Ok(()),
    }
}
