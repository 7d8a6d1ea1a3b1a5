//! Routes that answer with the reply to a request.

use std::sync::Arc;

use axum::{extract::Request, handler::Handler, http::Method, response::Response};
use futures_util::future::BoxFuture;
use streamerson_core::{MessageId, Reply, client};
use tokio::time::Instant;

use super::{
    body::{Check, check_json},
    idempotency::{fingerprint, run_idempotent},
    refusal::Refusal,
    respond::{self, Terms},
    route::{Accepted, Answered, Route, Settings, sealed::Sealed},
};

/// The kind of [`Route`] that sends a request and answers with the reply, whatever it is.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Requests;

impl Sealed for Requests {}
impl Answered for Requests {}

impl<S> Handler<(), S> for Route<Requests> {
    type Future = BoxFuture<'static, Response>;

    fn call(self, request: Request, _state: S) -> Self::Future {
        Box::pin(answer(self.settings, request, check_json))
    }
}

/// The response to a request, once the payload has passed the check.
pub(super) async fn answer(settings: Arc<Settings>, mut request: Request, check: Check) -> Response {
    // The id comes first, so that a request that is refused has one to be talked about by.
    let (id, repeatable) = match settings.message_id(&mut request) {
        Ok(id) => id,
        Err(refusal) => return refusal.into_response(&MessageId::unique()),
    };
    let head_only = request.method() == Method::HEAD;
    match ask(&settings, id.clone(), repeatable, request, check).await {
        Ok(reply) => {
            let terms = Terms { allow: &settings.reply_headers, whole: settings.whole, head_only };
            respond::response(&reply, &id, terms)
        }
        Err(refusal) => refusal.into_response(&id),
    }
}

async fn ask(
    settings: &Arc<Settings>,
    id: MessageId,
    repeatable: bool,
    request: Request,
    check: Check,
) -> Result<Reply, Refusal> {
    let deadline = settings.deadline();
    let request = settings.accept(request, check).await?;
    let idempotent = settings.idempotency.clone().filter(|_| repeatable).map(|it| (it, fingerprint(&request)));
    let Accepted { shard, headers, payload, extensions } = request;
    let mut message = client::Request::new(settings.event.clone(), payload);
    message.id = id.clone();
    message.headers = headers;
    message.fail_fast = settings.fail_fast;
    let settings = Arc::clone(settings);
    let send = {
        let settings = Arc::clone(&settings);
        async move {
            message.timeout = Some(deadline.saturating_duration_since(Instant::now()));
            settings.client.request(shard.as_ref().unwrap_or(&settings.topic), message).await
        }
    };
    match idempotent {
        Some((idempotency, fingerprint)) => {
            run_idempotent(settings, idempotency, &id, fingerprint, deadline, extensions, send).await
        }
        None => Ok(send.await?),
    }
}
