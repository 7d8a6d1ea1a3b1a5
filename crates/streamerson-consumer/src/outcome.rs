//! What becomes of a delivery, once its handler has come to something.

use std::time::Duration;

use http::StatusCode;
use streamerson_core::{
    Headers, Message, Problem, Reply,
    dead_letter::Reason,
    group::{Outcome, Settled},
};
use tracing::{debug, info, warn};

use crate::{
    handler_error::{HandlerError, Kind},
    incoming::Incoming,
    router::Retries,
};

/// How a delivery ends, and what its handler sent out; `None` when it does not end here but goes back to its group.
pub(crate) fn settled(incoming: &Incoming, result: Result<Reply, HandlerError>, retries: &Retries) -> Option<Settled> {
    let result = result.and_then(refuse_failures);
    if let Err(error) = &result
        && let Some(after) = pause(incoming, error, retries)
    {
        let Message { event, id, .. } = incoming.message();
        info!(%event, %id, attempt = incoming.delivery().failures + 1, ?after, %error, "failed; to be tried again");
        return Some(Outcome::Retried { after, error: error.error.clone() }.into());
    }
    let outcome = match result {
        Ok(reply) => {
            let status = status(&reply);
            // A handler that refuses the message has not done what it emitted messages for.
            let emitted = if status.as_u16() < 400 { incoming.take_emitted() } else { Vec::new() };
            let remember = incoming.remember();
            return Some(Settled { outcome: of_reply(incoming.message(), reply), emitted, remember });
        }
        Err(HandlerError { kind: Kind::Unstarted, .. }) => return None,
        Err(HandlerError { kind: Kind::Expired, error }) => {
            debug!(event = %incoming.message().event, id = %incoming.message().id, error, "expired");
            Outcome::Expired
        }
        Err(HandlerError { kind: Kind::Failed { reason, reply }, error }) => {
            of_failure(incoming.message(), reason, error, reply)
        }
    };
    Some(outcome.into())
}

/// How long until another attempt, if there is to be one: never past the deadline.
fn pause(incoming: &Incoming, error: &HandlerError, retries: &Retries) -> Option<Duration> {
    let failures = incoming.delivery().failures.saturating_add(1);
    let after = retries.of(&incoming.message().event).pause(failures, error)?;
    let in_time = incoming.message().deadline.is_none_or(|deadline| after < deadline.since(incoming.now()));
    in_time.then_some(after)
}

/// The status of a reply that may be an error without one.
pub(crate) fn status(reply: &Reply) -> StatusCode {
    let default = if reply.is_error { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    reply.status.unwrap_or(default)
}

/// Status codes from 500 on are failures. Those below 200 are no answers, and those above 599 nothing at all.
pub(crate) fn refuse_failures(reply: Reply) -> Result<Reply, HandlerError> {
    match status(&reply).as_u16() {
        200..=499 => Ok(reply),
        500..=599 => Err(HandlerError::of_reply(reply)),
        code => Err(HandlerError::no_final_status(code)),
    }
}

fn of_reply(message: &Message, reply: Reply) -> Outcome {
    if message.inbox.is_some() {
        return Outcome::Replied(with_id(reply, message));
    }
    if status(&reply).as_u16() < 400 {
        return Outcome::Done;
    }
    // Nobody waits for the error, so it would be lost if it were not kept.
    let error = format!("the handler answered {}", reply.problem());
    of_failure(message, Reason::Failed, error, reply)
}

fn of_failure(message: &Message, reason: Reason, error: String, reply: Reply) -> Outcome {
    let Message { event, id, inbox, .. } = message;
    let reply = inbox.is_some().then(|| with_id(reply, message));
    match reply {
        Some(reply) if reason == Reason::Rejected => {
            debug!(%event, %id, error, "message rejected");
            Outcome::Replied(reply)
        }
        reply => {
            warn!(%event, %id, %reason, error, "message dead-lettered");
            Outcome::Dead { reason, error, reply }
        }
    }
}

/// Puts the message's id into a problem document, so that the caller's report can be found in the log.
fn with_id(mut reply: Reply, message: &Message) -> Reply {
    if reply.is_error && reply.headers.get(Headers::CONTENT_TYPE) == Some(Problem::MEDIA_TYPE) {
        let mut problem = reply.problem();
        problem.extensions.entry("id").or_insert_with(|| message.id.as_str().into());
        reply.payload = problem.to_json().into();
    }
    reply
}
