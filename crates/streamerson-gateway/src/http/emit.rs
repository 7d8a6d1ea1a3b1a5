//! Routes that emit an event and do not wait for anybody to handle it.

use axum::{
    body::Body,
    extract::Request,
    handler::Handler,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use futures_util::future::BoxFuture;
use serde::Serialize;
use streamerson_core::{Message, MessageId};
use tokio::time::Instant;

use super::{
    body::check_json,
    refusal::Refusal,
    route::{Route, Settings},
};

/// The kind of [`Route`] that emits an event and answers 202 with `{"id": …}`, the message's id, once the broker has it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Emits;

impl<S> Handler<(), S> for Route<Emits> {
    type Future = BoxFuture<'static, Response>;

    fn call(self, request: Request, _state: S) -> Self::Future {
        Box::pin(async move {
            let id = MessageId::unique();
            match emit(&self.settings, id.clone(), request).await {
                Ok(()) => accepted(&id),
                Err(refusal) => refusal.into_response(&id),
            }
        })
    }
}

async fn emit(settings: &Settings, id: MessageId, request: Request) -> Result<(), Refusal> {
    let start = Instant::now();
    let (headers, payload) = settings.accept(request, check_json).await?;
    let event = settings.event.clone();
    let message = Message { event, id, inbox: None, deadline: None, headers, payload };
    // An event waits for the broker alone, so that its timeout is the client's, which knows what became of the append.
    let client = settings.client.with_timeout(settings.timeout.saturating_sub(start.elapsed()));
    client.emit(&settings.topic, message).await?;
    Ok(())
}

fn accepted(id: &MessageId) -> Response {
    #[derive(Serialize)]
    struct Accepted<'a> {
        id: &'a str,
    }

    // An object of strings always has a JSON form.
    let json = serde_json::to_vec(&Accepted { id }).unwrap_or_default();
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = StatusCode::ACCEPTED;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
