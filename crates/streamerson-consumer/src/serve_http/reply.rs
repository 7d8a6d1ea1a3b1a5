//! From an HTTP response to the reply that carries it.

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use streamerson_core::{
    Headers, Problem, Reply,
    http_header::{is_of_the_connection, join, take_named_by_connection},
};
use tokio::time::timeout_at;
use tower::BoxError;

use super::request::extract;
use crate::{extract::Deadline, failure::Failure, handler_error::HandlerError, incoming::Incoming};

/// The reply that carries a response.
///
/// # Errors
///
/// The response cannot be carried: it is the service that failed.
pub(super) async fn of<B>(response: Response<B>, incoming: &Incoming) -> Result<Reply, HandlerError>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send,
{
    let head_only = incoming.message().headers.get(Headers::HTTP_METHOD) == Some(Method::HEAD.as_str());
    let (mut parts, body) = response.into_parts();
    if head_only && let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
        // A server on a socket would say how long it is, too, and send nothing of it.
        parts.headers.entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    let headers = message_headers(&mut parts.headers, head_only)?;
    let is_wanted = !head_only && incoming.message().inbox.is_some();
    let payload = if is_wanted { collect(body, incoming).await? } else { Bytes::new() };
    let mut reply = Reply::new(payload).with_status(parts.status);
    reply.headers = headers;
    Ok(reply)
}

fn message_headers(http: &mut HeaderMap, head_only: bool) -> Result<Headers, HandlerError> {
    take_named_by_connection(http);
    let mut headers = Headers::new();
    for name in http.keys() {
        // Without a body to speak of, it speaks of the one that there would have been.
        let is_length_of_none = head_only && *name == header::CONTENT_LENGTH;
        if is_of_the_connection(name) && !is_length_of_none {
            continue;
        }
        let text = join(http, name).map_err(|_| failed(format!("the response's header {name} is not UTF-8"), None))?;
        let Some(text) = text else { continue };
        match *name {
            header::CONTENT_TYPE => headers.set(Headers::CONTENT_TYPE, text),
            _ => headers.set(&format!("{}{name}", Headers::HTTP_HEADER_PREFIX), text),
        }
    }
    Ok(headers)
}

/// The whole body: no longer than a payload may be, and no later than somebody waits for it.
async fn collect<B>(body: B, incoming: &Incoming) -> Result<Bytes, HandlerError>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send,
{
    let bytes_max = incoming.run().payload_bytes_max;
    let collected = Limited::new(body, bytes_max).collect();
    let collected = match extract::<Deadline>(incoming).await.instant() {
        Some(deadline) => timeout_at(deadline, collected).await.map_err(|_| {
            let error = "the response did not end before the deadline; a response is one message, and has to end";
            failed(error, Some((StatusCode::GATEWAY_TIMEOUT, "the response did not end in time")))
        })?,
        None => collected.await,
    };
    match collected {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let error = format!("the response is larger than the {bytes_max} bytes that a payload may have");
            Err(failed(error, Some((StatusCode::BAD_GATEWAY, "the response is larger than allowed"))))
        }
        Err(error) => Err(failed(error, None)),
    }
}

/// A failure, and what the caller is told of it.
fn failed(error: impl Into<BoxError>, told: Option<(StatusCode, &'static str)>) -> HandlerError {
    let failure = Failure::new(error);
    match told {
        Some((status, detail)) => failure.with_problem(Problem::new(status).with_detail(detail)),
        None => failure,
    }
    .into()
}
