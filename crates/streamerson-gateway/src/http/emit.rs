//! Routes that emit an event and do not wait for anybody to handle it.

use std::sync::Arc;

use axum::{extract::Request, handler::Handler, http::StatusCode, response::Response};
use futures_util::future::BoxFuture;
use serde::Serialize;
use streamerson_core::{Message, MessageId, Reply};
use tokio::time::Instant;

use super::{
    allow_list::AllowList,
    body::check_json,
    idempotency::run_idempotent,
    refusal::Refusal,
    respond::{self, Terms},
    route::{Accepted, Route, Settings},
};

/// The largest record of an event that was accepted, in bytes: less room is reserved than for a worker's reply.
const ACCEPTED_BYTES_MAX: usize = 512;

/// The kind of [`Route`] that emits an event and answers 202 with `{"id": …}`, the message's id, once the broker has it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Emits;

impl<S> Handler<(), S> for Route<Emits> {
    type Future = BoxFuture<'static, Response>;

    fn call(self, request: Request, _state: S) -> Self::Future {
        Box::pin(async move {
            let mut id = self.settings.topic.new_message_id();
            match emit(&self.settings, &mut id, request).await {
                Ok(accepted) => {
                    let terms = Terms { allow: &AllowList::default(), whole: false, head_only: false };
                    respond::response(&accepted, &id, terms)
                }
                Err(refusal) => refusal.into_response(&id),
            }
        })
    }
}

async fn emit(settings: &Arc<Settings>, id: &mut MessageId, mut request: Request) -> Result<Reply, Refusal> {
    let key = settings.key_of(&mut request)?;
    let deadline = settings.deadline();
    let request = settings.accept(request, check_json).await?;
    let keyed = key.map(|key| key.of_request(&request, id).with_reply_bytes_max(ACCEPTED_BYTES_MAX));
    let Accepted { shard, headers, payload, extensions } = request;
    let accepted = accepted(id);
    let message =
        Message { event: settings.event.clone(), id: id.clone(), inbox: None, deadline: None, headers, payload };
    let settings = Arc::clone(settings);
    let send = {
        let settings = Arc::clone(&settings);
        async move {
            // An event waits for the broker alone, so that its timeout is the client's, which knows what became of the
            // append.
            let client = settings.client.with_timeout(deadline.saturating_duration_since(Instant::now()));
            client.emit(shard.as_ref().unwrap_or(&settings.topic), message).await.map(|_| accepted)
        }
    };
    run_idempotent(settings, keyed, deadline, extensions, send).await
}

fn accepted(id: &MessageId) -> Reply {
    #[derive(Serialize)]
    struct Accepted<'a> {
        id: &'a str,
    }

    // An object of strings always has a JSON form.
    Reply::new(serde_json::to_vec(&Accepted { id }).unwrap_or_default()).with_status(StatusCode::ACCEPTED)
}
