//! `[[route]]`: which HTTP request becomes which message.

use std::{collections::HashSet, ops::Range, time::Duration};

use streamerson_core::{EventType, Topic, shards::Shards};
use toml::de::DeValue;

use super::{
    mistake::Mistakes,
    table::{Parsed, Table, count, flag, text},
    value::{Methods, media_type, methods, some_duration},
};
use crate::{
    Idempotency, ShardKey,
    http::{check_header, header_name},
};

/// How long a request may take unless its route says otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest body unless a route says otherwise, in bytes.
const BODY_BYTES_MAX: usize = 262_144;

/// One route.
#[derive(Debug)]
pub(crate) struct RouteConfig {
    pub(crate) methods: Methods,
    pub(crate) path: String,
    /// Further paths that it takes: what is before `{*rest}`, in mode `http`.
    pub(crate) also: Vec<String>,
    pub(crate) topic: Topic,
    /// The parts that the topic is in, and what says which one a request belongs to.
    pub(crate) sharded: Option<(Shards, ShardKey)>,
    pub(crate) event: EventType,
    pub(crate) mode: Mode,
    pub(crate) timeout: Duration,
    /// What consumers get to see; the library's own list when the file has none.
    pub(crate) forward_headers: Option<Vec<String>>,
    pub(crate) body_bytes_max: usize,
    pub(crate) content_types: Option<Vec<String>>,
    /// How requests with an `Idempotency-Key` are treated; the header means nothing when the file has no such table.
    pub(crate) idempotency: Option<Idempotency>,
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
    /// Sends the whole request and answers with the whole response.
    Http {
        /// As in [`Mode::Request`].
        reply_headers: Option<Vec<String>>,
        fail_fast: bool,
    },
}

/// What a file can call a mode.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ModeName {
    Request,
    Emit,
    Http,
}

/// A route and where it stands in the file.
pub(super) struct PlacedRoute {
    pub(super) config: RouteConfig,
    /// Where the topic is named.
    pub(super) topic_span: Range<usize>,
    path_span: Range<usize>,
    mode_span: Option<Range<usize>>,
    fail_fast_span: Option<Range<usize>>,
    shard_by: Option<(ShardKey, Range<usize>)>,
}

impl PlacedRoute {
    /// Where its topic is in shards it says by what, and only there.
    pub(super) fn place_in_shards(&mut self, shards: Option<&Shards>, mistakes: &mut Mistakes<'_>) {
        let topic = &self.config.topic;
        match (shards, self.shard_by.take()) {
            (Some(shards), Some((key, span))) => {
                if let Some(name) = key.as_param().filter(|name| !has_param(&self.config.path, name)) {
                    let what =
                        format!("the path {:?} has no parameter {{{name}}}; use one that it has", self.config.path);
                    return mistakes.add(&span, "route.shard_by", what);
                }
                self.config.sharded = Some((shards.clone(), key));
            }
            (Some(shards), None) => {
                let what = format!(
                    "{topic} is in {} shards, and nothing says which one a request belongs to; write shard_by = \
                     \"{{customer}}\", a parameter of the path, or \"x-customer\", a header",
                    shards.count()
                );
                mistakes.add(&self.topic_span, "route.topic", what);
            }
            (None, Some((_, span))) => {
                let what =
                    format!("{topic} is in no shards; write shards = 16 in [topic.{}], or leave it out", topic.name());
                mistakes.add(&span, "route.shard_by", what);
            }
            (None, None) => {}
        }
    }

    /// A topic in the original's format has no place for some of what a route can ask for.
    pub(super) fn refuse_what_js_lacks(&self, mistakes: &mut Mistakes<'_>) {
        let topic = &self.config.topic;
        if let (Mode::Http { .. }, Some(span)) = (&self.config.mode, &self.mode_span) {
            let what = format!(
                "whole requests are no messages of the original, and {topic} has wire = \"js\"; use a topic without it"
            );
            mistakes.add(span, "route.mode", what);
        }
        if let Some(span) = &self.fail_fast_span {
            let what = format!(
                "it cannot be told whether anybody reads {topic}, which has wire = \"js\", since the original's workers need \
                 no group; leave it out"
            );
            mistakes.add(span, "route.fail_fast", what);
        }
    }
}

/// One `[[route]]`; `None` when something that matters is missing or wrong.
pub(super) fn read(mut table: Table<'_>, mistakes: &mut Mistakes<'_>) -> Option<PlacedRoute> {
    let mode_name = table.get(mistakes, "mode", |value| mode_name(text(value)?));
    // Left out, or wrong and noted; what goes with it is then read as for the default.
    let mode_span = mode_name.as_ref().map(|mode| mode.span.clone());
    let mode_name = mode_name.map_or(ModeName::Request, |mode| mode.value);
    let methods = table.required(mistakes, "method", "\"POST\"", |value| match methods(text(value)?)? {
        Methods::Any if mode_name != ModeName::Http => Err("\"*\" is for mode \"http\"; name one method".to_owned()),
        methods => Ok(methods),
    });
    let path = table.required(mistakes, "path", "\"/orders/{id}\"", |value| path(text(value)?));
    let topic = table
        .required(mistakes, "topic", "\"orders\"", |value| Topic::new(text(value)?).map_err(|error| error.to_string()));
    let shard_by =
        table.get(mistakes, "shard_by", |value| text(value)?.parse::<ShardKey>().map_err(|error| error.to_string()));
    let event = event(mode_name, &mut table, mistakes);
    let timeout = table.get(mistakes, "timeout", |value| some_duration(text(value)?));
    let (mode, fail_fast_span) = mode(mode_name, &mut table, mistakes);
    let forward_headers = table.list(mistakes, "forward_headers", header);
    let body_bytes_max = table.get(mistakes, "body_bytes_max", bytes);
    let content_types = table.list(mistakes, "content_types", media_type);
    let idempotency = table.table(mistakes, "idempotency").map(|table| idempotency(table, mistakes));
    table.finish(mistakes);

    let (methods, path, topic) = (methods?.value, path?, topic?);
    let config = RouteConfig {
        methods,
        path: path.value,
        also: Vec::new(),
        topic: topic.value,
        sharded: None,
        event: event?,
        mode,
        timeout: timeout.map_or(TIMEOUT, |timeout| timeout.value),
        forward_headers,
        body_bytes_max: body_bytes_max.map_or(BODY_BYTES_MAX, |bytes| bytes.value),
        content_types,
        idempotency,
        upstream: 0,
    };
    let shard_by = shard_by.map(|key| (key.value, key.span));
    Some(PlacedRoute { config, topic_span: topic.span, path_span: path.span, mode_span, fail_fast_span, shard_by })
}

fn has_param(path: &str, name: &str) -> bool {
    let params = path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    params.into_iter().any(|param| param.trim_start_matches('*') == name)
}

fn event(mode: ModeName, table: &mut Table<'_>, mistakes: &mut Mistakes<'_>) -> Option<EventType> {
    if mode == ModeName::Http {
        let what = "it means nothing in mode \"http\", where the event type is always http; leave it out";
        table.refuse(mistakes, "event", what);
        return Some(EventType::HTTP);
    }
    let event = table.required(mistakes, "event", "\"order.update\"", |value| {
        EventType::for_user(text(value)?.to_owned()).map_err(|error| error.to_string())
    });
    event.map(|event| event.value)
}

/// The mode with its settings, and where `fail_fast` is asked for.
fn mode(mode: ModeName, table: &mut Table<'_>, mistakes: &mut Mistakes<'_>) -> (Mode, Option<Range<usize>>) {
    let mut fail_fast_span = None;
    let mut of_replies = || {
        let fail_fast = table.get(mistakes, "fail_fast", flag).filter(|fail_fast| fail_fast.value);
        fail_fast_span = fail_fast.map(|fail_fast| fail_fast.span);
        (table.list(mistakes, "reply_headers", header), fail_fast_span.is_some())
    };
    let mode = match mode {
        ModeName::Request => {
            let (reply_headers, fail_fast) = of_replies();
            Mode::Request { reply_headers, fail_fast }
        }
        ModeName::Http => {
            let (reply_headers, fail_fast) = of_replies();
            Mode::Http { reply_headers, fail_fast }
        }
        ModeName::Emit => {
            for key in ["reply_headers", "fail_fast"] {
                table.refuse(
                    mistakes,
                    key,
                    "it means nothing in mode \"emit\", which waits for no reply; leave it out",
                );
            }
            Mode::Emit
        }
    };
    (mode, fail_fast_span)
}

/// `[route.idempotency]`, under its `[[route]]`.
fn idempotency(mut table: Table<'_>, mistakes: &mut Mistakes<'_>) -> Idempotency {
    let ttl = table.get(mistakes, "ttl", |value| some_duration(text(value)?));
    let required = table.get(mistakes, "required", flag);
    let principal = table.get(mistakes, "principal", |value| principal(text(value)?));
    let reply_bytes_max = table.get(mistakes, "reply_bytes_max", bytes);
    table.finish(mistakes);
    let mut idempotency = ttl.map_or_else(Idempotency::default, |ttl| Idempotency::within(ttl.value));
    if let Some(principal) = principal {
        idempotency = idempotency.principal(&principal.value);
    }
    if let Some(bytes) = reply_bytes_max {
        idempotency = idempotency.reply_bytes_max(bytes.value);
    }
    idempotency.required(required.is_some_and(|required| required.value))
}

fn principal(name: &str) -> Parsed<String> {
    header_name(name).map(|name| name.to_string())
}

fn bytes(value: &DeValue<'_>) -> Parsed<usize> {
    usize::try_from(count(value)?).map_err(|_| "it is more than this machine can address".to_owned())
}

fn mode_name(name: &str) -> Parsed<ModeName> {
    match name {
        "request" => Ok(ModeName::Request),
        "emit" => Ok(ModeName::Emit),
        "http" => Ok(ModeName::Http),
        other => Err(format!("{other:?} is not a mode; write \"request\", \"emit\" or \"http\"")),
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

/// The rules of paths that concern them together: whether one request could be meant by two of them. Routes that take
/// more than their path are told what.
pub(super) fn check_paths(routes: &mut [PlacedRoute], mistakes: &mut Mistakes<'_>) {
    let mut router = matchit::Router::new();
    for (index, route) in routes.iter().enumerate() {
        let same_path = || routes[..index].iter().filter(|before| before.config.path == route.config.path);
        if let Some(first) = same_path().find(|before| before.config.methods == route.config.methods) {
            let (method, path) = (route.config.methods.as_str(), &route.config.path);
            let line = mistakes.line(&first.path_span);
            let what = format!("{method} {path} is routed on line {line} already; remove one of the two");
            mistakes.add(&route.path_span, "route.path", what);
        }
        if same_path().next().is_none()
            && let Err(error) = router.insert(&route.config.path, ())
        {
            mistakes.add(&route.path_span, "route.path", explain(&route.config.path, &error));
        }
    }
    let spelled_out: Vec<_> =
        routes.iter().map(|route| (route.config.path.clone(), route.config.methods.clone())).collect();
    let mut known: HashSet<String> = spelled_out.iter().map(|(path, _)| path.clone()).collect();
    for PlacedRoute { config, path_span, .. } in routes {
        for path in above_the_rest(config) {
            // What a route spells out is that route's.
            if spelled_out.iter().any(|(other, methods)| *other == path && *methods == config.methods) {
                continue;
            }
            if known.insert(path.clone())
                && let Err(error) = router.insert(&path, ())
            {
                let what = format!("it takes {path:?} as well, and {}", explain(&path, &error));
                mistakes.add(path_span, "route.path", what);
            }
            config.also.push(path);
        }
    }
}

/// What is before `{*rest}`, which itself needs at least one letter: `/shop/` and `/shop` for `/shop/{*rest}`.
///
/// A service moves with all of its paths, the topmost included. In other modes a route takes what its path says.
fn above_the_rest(route: &RouteConfig) -> Vec<String> {
    let Mode::Http { .. } = route.mode else { return Vec::new() };
    let Some((above, last)) = route.path.rsplit_once('/') else { return Vec::new() };
    if !last.starts_with("{*") {
        return Vec::new();
    }
    let with_slash = format!("{above}/");
    if above.is_empty() { vec![with_slash] } else { vec![above.to_owned(), with_slash] }
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
