//! `[[route]]`: which HTTP request becomes which message.

use std::{ops::Range, time::Duration};

use axum::{http::Method, routing::MethodFilter};
use streamerson_core::{EventType, Topic};

use super::{
    mistake::Mistakes,
    table::{Parsed, Placed, Table, count, flag, text},
    value::{media_type, method, some_duration},
};
use crate::http::check_header;

/// How long a request may take unless its route says otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest body unless a route says otherwise, in bytes.
const BODY_BYTES_MAX: usize = 262_144;

/// One route.
#[derive(Debug)]
pub(crate) struct RouteConfig {
    pub(crate) method: Method,
    pub(crate) filter: MethodFilter,
    pub(crate) path: String,
    pub(crate) topic: Topic,
    pub(crate) event: EventType,
    pub(crate) mode: Mode,
    pub(crate) timeout: Duration,
    pub(crate) forward_headers: Vec<String>,
    pub(crate) body_bytes_max: usize,
    pub(crate) content_types: Option<Vec<String>>,
    /// Which of the configuration's upstreams it sends to.
    pub(crate) upstream: usize,
}

/// What a route does with a request.
#[derive(Debug)]
pub(crate) enum Mode {
    /// Answers with the reply.
    Request {
        /// What replies may set; the library's own list when the file has none.
        reply_headers: Option<Vec<String>>,
        fail_fast: bool,
    },
    /// Answers as soon as the broker has the event.
    Emit,
}

/// A route and where it stands in the file.
pub(super) struct PlacedRoute {
    pub(super) config: RouteConfig,
    /// Where the topic is named.
    pub(super) topic_span: Range<usize>,
    path_span: Range<usize>,
}

/// One `[[route]]`; `None` when something that matters is missing or wrong.
pub(super) fn read(mut table: Table<'_>, mistakes: &mut Mistakes<'_>) -> Option<PlacedRoute> {
    let method = table.required(mistakes, "method", "\"POST\"", |value| method(text(value)?));
    let path = table.required(mistakes, "path", "\"/orders/{id}\"", |value| path(text(value)?));
    let topic = table
        .required(mistakes, "topic", "\"orders\"", |value| Topic::new(text(value)?).map_err(|error| error.to_string()));
    let event = table.required(mistakes, "event", "\"order.update\"", |value| {
        EventType::for_user(text(value)?.to_owned()).map_err(|error| error.to_string())
    });
    let timeout = table.get(mistakes, "timeout", |value| some_duration(text(value)?));
    let mode = mode(&mut table, mistakes);
    let forward_headers = table.list(mistakes, "forward_headers", header).unwrap_or_default();
    let body_bytes_max = table.get(mistakes, "body_bytes_max", |value| {
        usize::try_from(count(value)?).map_err(|_| "it is more than this machine can address".to_owned())
    });
    let content_types = table.list(mistakes, "content_types", media_type);
    table.finish(mistakes);

    let ((method, filter), path, topic) = (method?.value, path?, topic?);
    let config = RouteConfig {
        method,
        filter,
        path: path.value,
        topic: topic.value,
        event: event?.value,
        mode: mode?,
        timeout: timeout.map_or(TIMEOUT, |timeout| timeout.value),
        forward_headers,
        body_bytes_max: body_bytes_max.map_or(BODY_BYTES_MAX, |bytes| bytes.value),
        content_types,
        upstream: 0,
    };
    Some(PlacedRoute { config, topic_span: topic.span, path_span: path.span })
}

fn mode(table: &mut Table<'_>, mistakes: &mut Mistakes<'_>) -> Option<Mode> {
    let is_request = match table.get(mistakes, "mode", |value| is_request(text(value)?)) {
        Some(Placed { value, .. }) => value,
        // Left out, or wrong and noted; what goes with it is then read as for the default.
        None => true,
    };
    if is_request {
        let reply_headers = table.list(mistakes, "reply_headers", header);
        let fail_fast = table.get(mistakes, "fail_fast", flag).is_some_and(|fail_fast| fail_fast.value);
        return Some(Mode::Request { reply_headers, fail_fast });
    }
    for key in ["reply_headers", "fail_fast"] {
        table.refuse(mistakes, key, "it means nothing in mode \"emit\", which waits for no reply; leave it out");
    }
    Some(Mode::Emit)
}

fn is_request(mode: &str) -> Parsed<bool> {
    match mode {
        "request" => Ok(true),
        "emit" => Ok(false),
        "http" => Err("mode \"http\" is not supported yet by this build; use \"request\" or \"emit\"".to_owned()),
        other => Err(format!("{other:?} is not a mode; write \"request\" or \"emit\"")),
    }
}

fn header(name: &str) -> Parsed<String> {
    check_header(name).map(|()| name.to_ascii_lowercase())
}

/// The rules of a path that concern it alone.
fn path(path: &str) -> Parsed<String> {
    if !path.starts_with('/') {
        return Err(format!("{path:?} is not a path; it must begin with /"));
    }
    if let Some(old) = path.split('/').find(|segment| segment.starts_with([':', '*'])) {
        return Err(format!("a parameter is written in braces, as in /orders/{{id}} or /files/{{*rest}}, not {old:?}"));
    }
    // A path with any of these is never asked for as it is written: it ends at the first or is sent in another form.
    if let Some(bad) = path.chars().find(|c| matches!(c, '?' | '#') || c.is_whitespace() || c.is_control()) {
        return Err(format!("{path:?} is not a path; it cannot hold {bad:?}"));
    }
    Ok(path.to_owned())
}

/// The rules of paths that concern them together: whether one request could be meant by two of them.
pub(super) fn check_paths(routes: &[PlacedRoute], mistakes: &mut Mistakes<'_>) {
    let mut router = matchit::Router::new();
    for (index, route) in routes.iter().enumerate() {
        let same_path = || routes[..index].iter().filter(|before| before.config.path == route.config.path);
        if let Some(first) = same_path().find(|before| before.config.method == route.config.method) {
            let (method, path, line) = (&route.config.method, &route.config.path, mistakes.line(&first.path_span));
            let what = format!("{method} {path} is routed on line {line} already; remove one of the two");
            mistakes.add(&route.path_span, "route.path", what);
        }
        if same_path().next().is_none()
            && let Err(error) = router.insert(&route.config.path, ())
        {
            mistakes.add(&route.path_span, "route.path", explain(&route.config.path, &error));
        }
    }
}

fn explain(path: &str, error: &matchit::InsertError) -> String {
    use matchit::InsertError;
    let why = match error {
        InsertError::Conflict { with } => {
            format!("it cannot be told apart from {with}; give their parameters the same names, or change one path")
        }
        InsertError::InvalidParamSegment => "a segment holds one parameter at most, with nothing after it".to_owned(),
        InsertError::InvalidParam => {
            "a parameter is a name in braces, as in /orders/{id}; write {{ and }} for braces themselves".to_owned()
        }
        InsertError::InvalidCatchAll => "{*rest} can only be the last segment".to_owned(),
        other => other.to_string(),
    };
    format!("{path:?} cannot be routed: {why}")
}
