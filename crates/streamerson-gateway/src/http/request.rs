//! Routes that answer with the reply to a request.

use std::sync::Arc;

use axum::{extract::Request, handler::Handler, http::Method, response::Response};
use futures_util::future::BoxFuture;
use streamerson_core::{MessageId, Reply, client};
use tokio::time::Instant;

use super::{
    body::{Check, check_json},
    idempotency::run_idempotent,
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
pub(super) async fn answer(settings: Arc<Settings>, request: Request, check: Check) -> Response {
    let head_only = request.method() == Method::HEAD;
    // A request that is refused before its message is made has an id by which it can be talked about.
    let mut id = settings.topic.new_message_id();
    match ask(&settings, &mut id, request, check).await {
        Ok(reply) => {
            let terms = Terms { allow: &settings.reply_headers, whole: settings.whole, head_only };
            respond::response(&reply, &id, terms)
        }
        Err(refusal) => refusal.into_response(&id),
    }
}

async fn ask(
    settings: &Arc<Settings>,
    id: &mut MessageId,
    mut request: Request,
    check: Check,
) -> Result<Reply, Refusal> {
    let key = settings.key_of(&mut request)?;
    let deadline = settings.deadline();
    let request = settings.accept(request, check).await?;
    let keyed = key.map(|key| key.of_request(&request, id));
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
    run_idempotent(settings, keyed, deadline, extensions, send).await
}
