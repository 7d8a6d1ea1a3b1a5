//! Routes for the requests of a contract.

use std::{fmt, marker::PhantomData};

use axum::{extract::Request, handler::Handler, response::Response};
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use streamerson_core::{Call, is_json_type};

use super::{
    body::{Payload, json_text},
    refusal::Refusal,
    request::answer,
    route::{Answered, Route, sealed::Sealed},
};

/// The kind of [`Route`] that sends a request of the contract `C` and answers with the reply.
pub struct Calls<C>(PhantomData<fn() -> C>);

impl<C> Sealed for Calls<C> {}
impl<C> Answered for Calls<C> {}

impl<C> fmt::Debug for Calls<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Calls")
    }
}

impl<C: Call + DeserializeOwned, S> Handler<(), S> for Route<Calls<C>> {
    type Future = BoxFuture<'static, Response>;

    fn call(self, request: Request, _state: S) -> Self::Future {
        Box::pin(answer(self.settings, request, check_contract::<C>))
    }
}

/// As axum's `Json` extractor: 415 for another type or none, 400 for what is not JSON, 422 for JSON that is no `C`.
fn check_contract<C: DeserializeOwned>(payload: Payload<'_>) -> Result<(), Refusal> {
    if !payload.media_type.is_some_and(is_json_type) {
        return Err(Refusal::MediaType);
    }
    serde_json::from_str::<C>(json_text(payload.bytes)?).map(|_| ()).map_err(|error| match error.classify() {
        Category::Data => Refusal::NotTheContract(error.to_string()),
        Category::Syntax | Category::Eof | Category::Io => Refusal::NotJson(error.to_string()),
    })
}
