//! Routes that pass on requests as they are, to consumers that serve HTTP.

use axum::{extract::Request, handler::Handler, response::Response};
use futures_util::future::BoxFuture;

use super::{
    body::Payload,
    refusal::Refusal,
    request::answer,
    route::{Answered, Route, sealed::Sealed},
};

/// The kind of [`Route`] that sends whole HTTP requests and answers with whole responses.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct HttpRequests;

impl Sealed for HttpRequests {}
impl Answered for HttpRequests {}

impl<S> Handler<(), S> for Route<HttpRequests> {
    type Future = BoxFuture<'static, Response>;

    fn call(self, request: Request, _state: S) -> Self::Future {
        Box::pin(answer(self.settings, request, check_nothing))
    }
}

/// What a body may be is for the service to say, in the words that it has always had for it.
fn check_nothing(_: Payload<'_>) -> Result<(), Refusal> {
    Ok(())
}
