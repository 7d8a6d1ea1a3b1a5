//! What of an HTTP request becomes headers of the message.

use axum::{
    extract::{FromRequestParts, OriginalUri, RawPathParams, Request, rejection::RawPathParamsRejection},
    http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Uri, header, request::Parts, uri::Authority},
};
use streamerson_core::{Headers, http_header::join};

use super::{allow_list::AllowList, refusal::Refusal};

const TRACEPARENT: HeaderName = HeaderName::from_static(Headers::TRACEPARENT);
const TRACESTATE: HeaderName = HeaderName::from_static(Headers::TRACESTATE);

/// The message headers of a request.
///
/// Method, path, query, media type and trace context always go, and of other HTTP headers those that `allow` takes.
/// `params` says whether the parameters of the route's path go too.
pub(super) async fn message_headers(parts: &mut Parts, allow: &AllowList, params: bool) -> Result<Headers, Refusal> {
    let mut headers = Headers::new();
    set_target(&mut headers, &parts.method, original_uri(&parts.extensions, &parts.uri));
    if params {
        set_params(&mut headers, parts).await?;
    }
    set_trace(&mut headers, &parts.headers);
    if let Some(value) = parts.headers.get(header::CONTENT_TYPE) {
        headers.set(Headers::CONTENT_TYPE, text(&header::CONTENT_TYPE, value)?);
    }
    for allowed in allow.named() {
        if let Some(value) = joined(&parts.headers, &allowed.http)? {
            headers.set(&allowed.message, value);
        }
    }
    if allow.has_the_rest() {
        let names = parts.headers.keys().filter(|name| allow.takes_unnamed(name));
        // They have a place of their own, where it is known what to do with two of them.
        for name in names.filter(|name| !is_trace_context(name)) {
            if let Some(value) = joined(&parts.headers, name)? {
                headers.set(&format!("{}{name}", Headers::HTTP_HEADER_PREFIX), value);
            }
        }
    }
    Ok(headers)
}

/// Sets the header `Host` to the authority of the request's target, where the target has one: always in HTTP/2, sometimes
/// in HTTP/1.1 (RFC 9112, section 3.2.2).
///
/// Called once for each request, before anything reads the header: an HTTP/2 request has no `Host` until then.
pub(super) fn set_host(request: &mut Request) {
    let authority = original_uri(request.extensions(), request.uri()).authority().map(Authority::as_str);
    // What stands before an @ is a login, which is no part of a host.
    let host = authority.and_then(|authority| authority.rsplit('@').next());
    if let Some(host) = host.and_then(|host| HeaderValue::from_str(host).ok()) {
        request.headers_mut().insert(header::HOST, host);
    }
}

/// `nest` takes its prefix off the URI that handlers see; consumers get what the client asked for.
fn original_uri<'a>(extensions: &'a Extensions, uri: &'a Uri) -> &'a Uri {
    extensions.get::<OriginalUri>().map_or(uri, |original| &original.0)
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

/// Returns whether a header carries trace context, which every route forwards.
pub(super) fn is_trace_context(name: &HeaderName) -> bool {
    [TRACEPARENT, TRACESTATE].contains(name)
}

/// The trace context, where there is one that can be passed on; a trace is no reason to refuse a request.
///
/// A second `traceparent` makes both void, and without a parent its state means nothing (W3C Trace Context, 3.2.2 and
/// 3.3).
fn set_trace(headers: &mut Headers, http: &HeaderMap) {
    let mut parents = http.get_all(TRACEPARENT).iter();
    let (Some(parent), None) = (parents.next(), parents.next()) else { return };
    let Ok(parent) = text(&TRACEPARENT, parent) else { return };
    headers.set(Headers::TRACEPARENT, parent);
    if let Ok(Some(state)) = joined(http, &TRACESTATE) {
        headers.set(Headers::TRACESTATE, state);
    }
}

/// All values of a header as one text.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Refusal> {
    join(headers, name).map_err(|_| Refusal::HeaderNotText(name.clone()))
}

/// Header values are any bytes and message headers are texts. UTF-8 passes; the rest is refused rather than dropped,
/// since a consumer would take a header that was asked for and is missing as never sent.
fn text<'a>(name: &HeaderName, value: &'a HeaderValue) -> Result<&'a str, Refusal> {
    std::str::from_utf8(value.as_bytes()).map_err(|_| Refusal::HeaderNotText(name.clone()))
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::request::Builder};
    use futures_util::FutureExt;

    use super::*;

    fn forwarded(request: Builder, allow: &[&str]) -> Result<Headers, Refusal> {
        let (mut parts, _) = request.body(Body::empty()).unwrap().into_parts();
        let allow = AllowList::parse(allow.iter().copied()).unwrap();
        message_headers(&mut parts, &allow, true).now_or_never().unwrap()
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
    fn the_rest_is_what_is_neither_a_credential_nor_of_the_connection() {
        let request = Request::get("/")
            .header("host", "shop.example:81")
            .header("accept", "text/html")
            .header("accept", "*/*;q=0.1")
            .header("content-type", "text/plain")
            .header("content-length", "3")
            .header("transfer-encoding", "chunked")
            .header("connection", "close")
            .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
            .header("authorization", "secret")
            .header("cookie", "a=1")
            .header("cookie", "b=2");
        let pairs = [("accept", "text/html, */*;q=0.1"), ("host", "shop.example:81")];
        let sorted = |headers: &Headers| {
            let mut all: Vec<_> = headers.with_prefix("http.header.").collect::<Vec<_>>();
            all.sort_unstable();
            all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>()
        };
        let owned = |pairs: &[(&str, &str)]| -> Vec<_> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        assert_eq!(sorted(&forwarded(request, &["*"]).unwrap()), owned(&pairs));
        let cookies = Request::get("/").header("cookie", "a=1").header("cookie", "b=2").header("accept", "*/*");
        let headers = forwarded(cookies, &["*", "cookie"]).unwrap();
        assert_eq!(sorted(&headers), owned(&[("accept", "*/*"), ("cookie", "a=1; b=2")]));
    }

    #[test]
    fn the_host_is_the_authority_of_the_target_where_it_has_one() {
        for (target, host, expected) in [
            ("http://login:secret@shop.example:81/", Some("other.example"), Some("shop.example:81")),
            ("http://shop.example/", None, Some("shop.example")),
            ("/", Some("shop.example"), Some("shop.example")),
            ("/", None, None),
        ] {
            let mut request = Request::get(target).body(Body::empty()).unwrap();
            if let Some(host) = host {
                request.headers_mut().insert("host", HeaderValue::from_static(host));
            }
            set_host(&mut request);
            let set = request.headers().get("host").map(|host| host.to_str().unwrap());
            assert_eq!(set, expected, "{target} {host:?}");
        }
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
