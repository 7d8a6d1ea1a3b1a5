//! From a message to the HTTP request that it carries.

use std::convert::Infallible;

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use streamerson_core::{
    Headers, Message, MessageId, Problem,
    http_header::{is_of_the_connection, split},
};

use super::RequestBody;
use crate::{
    extract::{Attempt, Cancelled, Deadline, Emitter, FromMessage},
    handler_error::HandlerError,
    incoming::Incoming,
};

/// The request that a message carries.
///
/// # Errors
///
/// It carries none: only its sender can do something about that.
pub(super) async fn of(incoming: &Incoming) -> Result<Request<RequestBody>, HandlerError> {
    let mut request = parse(incoming.message()).map_err(|why| {
        let detail = format!("the message is no HTTP request: {why}");
        HandlerError::rejected(Problem::new(StatusCode::BAD_REQUEST).with_detail(detail))
    })?;
    *request.extensions_mut() = extensions(incoming).await;
    Ok(request)
}

fn parse(message: &Message) -> Result<Request<RequestBody>, &'static str> {
    let method = message.headers.get(Headers::HTTP_METHOD).ok_or("it names no method")?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| "its method is not one")?;
    let uri = target(&message.headers)?;
    let mut headers = headers(&message.headers)?;
    let expects_body = matches!(method, Method::POST | Method::PUT | Method::PATCH);
    if expects_body || !message.payload.is_empty() {
        headers.insert(header::CONTENT_LENGTH, message.payload.len().into());
    }
    let mut request = Request::new(RequestBody::new(message.payload.clone()));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

/// The target in origin form, or the `*` of `OPTIONS`: what a server is asked for on a socket.
fn target(headers: &Headers) -> Result<Uri, &'static str> {
    let path = headers.get(Headers::HTTP_PATH).ok_or("it names no path")?;
    if !path.starts_with('/') && path != "*" {
        return Err("its path does not begin with /");
    }
    let target = match headers.get(Headers::HTTP_QUERY) {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    Uri::try_from(target).map_err(|_| "its path or query is not valid")
}

fn headers(message: &Headers) -> Result<HeaderMap, &'static str> {
    let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).map_err(|_| "the value of a header is not valid");
    let mut headers = HeaderMap::new();
    for (name, text) in message.with_prefix(Headers::HTTP_HEADER_PREFIX) {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "the name of a header is not valid")?;
        if is_of_the_connection(&name) {
            continue;
        }
        for text in split(&name, text) {
            headers.append(&name, value(text)?);
        }
    }
    const APART: [HeaderName; 3] = [
        header::CONTENT_TYPE,
        HeaderName::from_static(Headers::TRACEPARENT),
        HeaderName::from_static(Headers::TRACESTATE),
    ];
    for name in APART {
        if let Some(text) = message.get(name.as_str()) {
            headers.insert(name, value(text)?);
        }
    }
    Ok(headers)
}

/// What layers left, and what handlers can have as arguments beyond what is HTTP's.
async fn extensions(incoming: &Incoming) -> Extensions {
    let mut extensions = incoming.extensions().clone();
    extensions.insert(extract::<MessageId>(incoming).await);
    extensions.insert(extract::<Attempt>(incoming).await);
    extensions.insert(extract::<Deadline>(incoming).await);
    extensions.insert(extract::<Cancelled>(incoming).await);
    extensions.insert(extract::<Emitter>(incoming).await);
    extensions.insert(incoming.clone());
    extensions
}

pub(super) async fn extract<T: FromMessage<(), Rejection = Infallible>>(incoming: &Incoming) -> T {
    match T::from_message(incoming, &()).await {
        Ok(extracted) => extracted,
        Err(never) => match never {},
    }
}
