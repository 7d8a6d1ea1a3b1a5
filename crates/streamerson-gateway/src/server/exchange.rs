//! One request and its response, from the head of the request to the last byte of the response.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{body::HttpBody, http::StatusCode, response::Response};
use streamerson_core::{MessageId, Problem};
use tokio::sync::OwnedSemaphorePermit;

use super::{exchanges::OpenExchange, metrics::InFlight, responses::Responses};
use crate::http::{Outcome, respond};

/// Bodies up to this size are sent, bound or not: the problem in their place would be as large.
const SMALL_BYTES_MAX: usize = 1024;

/// What a connection adds to a request, as an extension.
#[derive(Debug, Clone)]
pub(super) struct FromConnection {
    /// The other end of the connection: the client, or a proxy.
    pub(super) client: SocketAddr,
    pub(super) exchange: Arc<Exchange>,
}

/// Holds what a request uses until the last byte of its response was written to the socket, or its body was dropped.
///
/// The pieces of the body share it: `hyper` and `h2` take pieces long before the client does.
#[derive(Debug)]
pub(super) struct Exchange {
    responses: Arc<Responses>,
    /// Bytes of the body that are counted and were not handed over as pieces.
    reserved: AtomicUsize,
    permit: OnceLock<OwnedSemaphorePermit>,
    in_flight: OnceLock<InFlight>,
    open: Option<OpenExchange>,
}

impl Exchange {
    pub(super) fn new(responses: Arc<Responses>, open: Option<OpenExchange>) -> Self {
        let (permit, in_flight) = (OnceLock::new(), OnceLock::new());
        Self { responses, reserved: AtomicUsize::new(0), permit, in_flight, open }
    }

    /// Returns whether the response can be expected to fit into what may wait for clients.
    pub(super) fn has_room(&self) -> bool {
        self.responses.has_room()
    }

    /// Returns how many exchanges of the connection are open, this one included; `None` on a connection of HTTP/1.1, whose
    /// requests follow one another.
    pub(super) fn open_on_connection(&self) -> Option<usize> {
        self.open.as_ref().map(OpenExchange::open_on_connection)
    }

    pub(super) fn hold_permit(&self, permit: OwnedSemaphorePermit) {
        // There is one for each request.
        _ = self.permit.set(permit);
    }

    pub(super) fn hold_in_flight(&self, in_flight: InFlight) {
        _ = self.in_flight.set(in_flight);
    }

    /// Counts the body of a response among the bytes that wait for clients. A reply that does not fit is dropped, and the
    /// response becomes a small problem that says so: 500 and without `Retry-After`, since the request was handled and a
    /// client that repeats it would have it handled again.
    pub(super) fn bounded(&self, response: Response) -> Response {
        let bytes = body_len(&response);
        // The gateway's own problems are small as well.
        if bytes <= SMALL_BYTES_MAX || response.extensions().get::<Outcome>().is_some() {
            self.reserve(bytes);
            return response;
        }
        if self.responses.try_add(bytes) {
            self.reserved.fetch_add(bytes, Ordering::Relaxed);
            return response;
        }
        let id = response.extensions().get().cloned().unwrap_or_else(MessageId::unique);
        let outcome = Outcome("response-memory");
        let problem = Problem::new(StatusCode::INTERNAL_SERVER_ERROR)
            .with_detail(
                "the request was handled, but its reply was dropped: too many response bytes are waiting for clients",
            )
            .with("reason", outcome.as_str());
        let dropped = respond(problem, &id, outcome);
        self.reserve(body_len(&dropped));
        dropped
    }

    fn reserve(&self, bytes: usize) {
        self.responses.add(bytes);
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that are handed over as a piece. The piece takes them back: see [`Exchange::record_taken`] and
    /// [`Exchange::release`].
    pub(super) fn hand_over(&self, bytes: usize) {
        // There is one body, which hands over one piece at a time.
        let reserved = self.reserved.load(Ordering::Relaxed).min(bytes);
        self.reserved.fetch_sub(reserved, Ordering::Relaxed);
        if reserved < bytes {
            self.responses.add(bytes - reserved);
        }
    }

    /// Counts bytes of a piece that were written to the socket.
    pub(super) fn record_taken(&self, bytes: usize) {
        self.responses.record_taken(bytes);
    }

    /// Takes back bytes of a piece that was dropped.
    pub(super) fn release(&self, bytes: usize) {
        self.responses.release(bytes);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.responses.release(*self.reserved.get_mut());
    }
}

/// The length of a response's body. All of this crate's are known.
fn body_len(response: &Response) -> usize {
    usize::try_from(response.body().size_hint().lower()).unwrap_or(usize::MAX)
}
