//! What of an HTTP request becomes headers of the message.

use axum::{
    extract::{FromRequestParts, OriginalUri, RawPathParams, rejection::RawPathParamsRejection},
    http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, request::Parts},
};
use streamerson_core::Headers;

use super::{allow_list::AllowList, refusal::Refusal};

/// The message headers of a request.
///
/// Method, path, query, path parameters, media type and trace context always go; other HTTP headers only when `allow`
/// names them.
pub(super) async fn message_headers(parts: &mut Parts, allow: &AllowList) -> Result<Headers, Refusal> {
    drop_named_by_connection(&mut parts.headers);
    let mut headers = Headers::new();
    set_target(&mut headers, &parts.method, original_uri(parts));
    set_params(&mut headers, parts).await?;
    set_trace(&mut headers, &parts.headers);
    if let Some(value) = parts.headers.get(header::CONTENT_TYPE) {
        headers.set(Headers::CONTENT_TYPE, text(&header::CONTENT_TYPE, value)?);
    }
    for allowed in allow.iter() {
        if let Some(value) = joined(&parts.headers, &allowed.http)? {
            headers.set(&allowed.message, value);
        }
    }
    Ok(headers)
}

/// Headers that `Connection` names end here, whatever else is said of them (RFC 9110, section 7.6.1).
fn drop_named_by_connection(headers: &mut HeaderMap) {
    // The values are cheap to clone, and the map can't change while they are borrowed.
    let values: Vec<HeaderValue> = headers.get_all(header::CONNECTION).iter().cloned().collect();
    for name in values.iter().filter_map(|value| value.to_str().ok()).flat_map(|names| names.split(',')) {
        headers.remove(name.trim());
    }
}

/// `nest` takes its prefix off the URI that handlers see; consumers get what the client asked for.
fn original_uri(parts: &Parts) -> &Uri {
    parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0)
}

fn set_target(headers: &mut Headers, method: &Method, uri: &Uri) {
    headers.set(Headers::HTTP_METHOD, method.as_str());
    headers.set(Headers::HTTP_PATH, uri.path());
    if let Some(query) = uri.query() {
        headers.set(Headers::HTTP_QUERY, query);
    }
}

async fn set_params(headers: &mut Headers, parts: &mut Parts) -> Result<(), Refusal> {
    let params = match RawPathParams::from_request_parts(parts, &()).await {
        Ok(params) => params,
        Err(RawPathParamsRejection::InvalidUtf8InPathParam(_)) => return Err(Refusal::PathNotText),
        // Not behind a router, so there are none.
        Err(_) => return Ok(()),
    };
    for (name, value) in &params {
        headers.set(&format!("{}{name}", Headers::HTTP_PARAM_PREFIX), value);
    }
    Ok(())
}

/// The trace context, where there is one that can be passed on; a trace is no reason to refuse a request.
///
/// A second `traceparent` makes both void, and without a parent its state means nothing (W3C Trace Context, 3.2.2 and
/// 3.3).
fn set_trace(headers: &mut Headers, http: &HeaderMap) {
    const TRACEPARENT: HeaderName = HeaderName::from_static(Headers::TRACEPARENT);
    const TRACESTATE: HeaderName = HeaderName::from_static(Headers::TRACESTATE);

    let mut parents = http.get_all(TRACEPARENT).iter();
    let (Some(parent), None) = (parents.next(), parents.next()) else { return };
    let Ok(parent) = text(&TRACEPARENT, parent) else { return };
    headers.set(Headers::TRACEPARENT, parent);
    if let Ok(Some(state)) = joined(http, &TRACESTATE) {
        headers.set(Headers::TRACESTATE, state);
    }
}

/// All values of a header, joined as RFC 9110, section 5.3 allows.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    let mut joined = text(name, first)?.to_owned();
    for value in values {
        joined.push_str(", ");
        joined.push_str(text(name, value)?);
    }
    Ok(Some(joined))
}

/// Header values are any bytes and message headers are texts. UTF-8 passes; the rest is refused rather than dropped,
/// since a consumer would take a header that was asked for and is missing as never sent.
fn text<'a>(name: &HeaderName, value: &'a HeaderValue) -> Result<&'a str, Refusal> {
    std::str::from_utf8(value.as_bytes()).map_err(|_| Refusal::HeaderNotText(name.clone()))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use futures_util::FutureExt;

    use super::*;

    fn forwarded(request: axum::http::request::Builder, allow: &[&str]) -> Result<Headers, Refusal> {
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let allow = AllowList::parse(allow.iter().copied()).unwrap();
        message_headers(&mut parts, &allow).now_or_never().unwrap()
    }

    #[test]
    fn only_allowed_headers_go_and_repeated_ones_are_joined() {
        let request = Request::get("/a%20b?c=%20&d")
            .header("x-list", "1")
            .header("X-List", "2")
            .header("cookie", "secret")
            .header("authorization", "secret")
            .header("content-type", "text/plain");
        let headers = forwarded(request, &["x-list", "x-absent"]).unwrap();
        let expected = [
            ("http.method", "GET"),
            ("http.path", "/a%20b"),
            ("http.query", "c=%20&d"),
            ("content-type", "text/plain"),
            ("http.header.x-list", "1, 2"),
        ];
        assert_eq!(headers.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_connection_names_does_not_pass_even_if_allowed() {
        let request =
            Request::get("/").header("connection", "close, X-Hop").header("x-hop", "1").header("x-end-to-end", "2");
        let headers = forwarded(request, &["x-hop", "x-end-to-end"]).unwrap();
        assert_eq!(headers.with_prefix("http.header.").collect::<Vec<_>>(), [("x-end-to-end", "2")]);
    }

    #[test]
    fn credentials_pass_when_named() {
        let headers = forwarded(Request::get("/").header("cookie", "a=1"), &["cookie"]).unwrap();
        assert_eq!(headers.get("http.header.cookie"), Some("a=1"));
    }

    #[test]
    fn values_are_utf_8_or_refused() {
        let utf8 = HeaderValue::from_bytes("Zoë".as_bytes()).unwrap();
        let latin1 = HeaderValue::from_bytes(b"Zo\xeb").unwrap();
        let headers = forwarded(Request::get("/").header("x-name", utf8), &["x-name"]).unwrap();
        assert_eq!(headers.get("http.header.x-name"), Some("Zoë"));
        let refused = forwarded(Request::get("/").header("x-name", &latin1), &["x-name"]);
        assert!(matches!(refused, Err(Refusal::HeaderNotText(_))));
        assert!(forwarded(Request::get("/").header("x-name", &latin1), &[]).is_ok());
    }

    #[test]
    fn a_trace_passes_with_its_state_and_a_void_one_does_not() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = |headers: &Headers| {
            let get = |name| headers.get(name).map(str::to_owned);
            (get("traceparent"), get("tracestate"))
        };

        let request =
            Request::get("/").header("traceparent", parent).header("tracestate", "a=1").header("tracestate", "b=2");
        let headers = forwarded(request, &[]).unwrap();
        assert_eq!(trace(&headers), (Some(parent.into()), Some("a=1, b=2".into())));

        let twice = Request::get("/").header("traceparent", parent).header("traceparent", parent);
        assert_eq!(trace(&forwarded(twice, &[]).unwrap()), (None, None));
        let orphan = Request::get("/").header("tracestate", "a=1");
        assert_eq!(trace(&forwarded(orphan, &[]).unwrap()), (None, None));
    }
}
