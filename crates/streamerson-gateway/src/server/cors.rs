//! Which pages of other origins may use the gateway (the CORS protocol of the Fetch standard).
//!
//! The browser asks and the browser enforces: nothing here keeps a program that is no browser from a request.

use std::collections::BTreeSet;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::Response,
};

use super::{config::Methods, edge::REQUEST_ID};
use crate::http::{Outcome, THE_REST};

/// How long a browser may remember what a preflight told it, in seconds. Browsers cut it down to what they like.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// What lets a page read a response, or send a request.
const OF_THE_SERVICE: [HeaderName; 6] = [
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_MAX_AGE,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
];

#[derive(Debug)]
pub(super) struct Cors {
    origins: Vec<HeaderValue>,
    /// The methods of all routes. Whether the one at hand has it, the request itself will tell.
    methods: HeaderValue,
    /// What a script may read of a response, beyond what it always may.
    exposed: Option<HeaderValue>,
}

impl Cors {
    pub(super) fn new<'a>(
        origins: Vec<HeaderValue>,
        methods: impl IntoIterator<Item = &'a Methods>,
        reply_headers: impl IntoIterator<Item = String>,
    ) -> Self {
        let methods: BTreeSet<_> = methods.into_iter().flat_map(names).collect();
        let mut exposed: BTreeSet<_> = reply_headers.into_iter().collect();
        if !exposed.contains(THE_REST) {
            exposed.insert(REQUEST_ID.to_string());
        }
        let exposed = list(exposed.iter().map(String::as_str));
        Self { origins, methods: list(methods).unwrap_or(HeaderValue::from_static("GET")), exposed }
    }

    /// The answer to a preflight from one of the origins. An `OPTIONS` that is none goes to the routes.
    pub(super) fn preflight(&self, request: &Request) -> Option<Response> {
        let (method, headers) = (request.method(), request.headers());
        let is_preflight = method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !is_preflight || self.allowed(headers).is_none() {
            return None;
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response.extensions_mut().insert(Outcome("preflight"));
        let answer = response.headers_mut();
        answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
        answer.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        // Which headers a consumer gets to see is decided by the routes; sending more does no harm.
        if let Some(wanted) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        Some(response)
    }

    /// The origin of a request, if it is one of those that may read the response.
    pub(super) fn allowed(&self, request: &HeaderMap) -> Option<HeaderValue> {
        let origin = request.get(header::ORIGIN)?;
        self.origins.contains(origin).then(|| origin.clone())
    }

    /// A service in mode "http" may have views of its own on this. One of them decides, and that is `[cors]`.
    pub(super) fn overrule(response: &mut HeaderMap) {
        for name in OF_THE_SERVICE {
            response.remove(name);
        }
    }

    /// Adds to a response what lets the page read it.
    pub(super) fn stamp(&self, response: &mut HeaderMap, origin: Option<HeaderValue>) {
        // For every origin, or a cache would hand one origin's response to another.
        response.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = origin {
            response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            if let Some(exposed) = &self.exposed {
                response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
            }
        }
    }
}

/// Those that pages use, where all are taken.
fn names(methods: &Methods) -> Vec<&str> {
    match methods {
        Methods::One(method, _) => vec![method.as_str()],
        Methods::Any => vec!["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"],
    }
}

fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<HeaderValue> {
    let names: Vec<_> = names.into_iter().collect();
    HeaderValue::from_str(&names.join(", ")).ok().filter(|names| !names.is_empty())
}
