//! HTTP from one end to the other: a gateway, a broker, and a service that speaks HTTP.
#![allow(clippy::unwrap_used)] // A test may unwrap.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode},
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use streamerson::{Client, Consumer, Gateway, SharedBroker, Topic, core::broker::memory::Memory};
use tower::ServiceExt;

/// What is sent: a request, or a response.
#[derive(Debug, Clone)]
struct Sent {
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

prop_compose! {
    fn sent()(
        headers in prop::collection::vec(
            (
                prop_oneof![
                    "x-[a-z0-9!#$&'*+.^_`|~-]{0,12}",
                    "accept|accept-encoding|host|range|content-type|etag|location|vary|cookie|set-cookie|authorization",
                ],
                // What a value may hold, without the blanks around it, which are no part of it.
                "([!-~]([ -~\t]{0,30}[!-~])?|[é-ü]{1,5}|)",
            ),
            0..8,
        ),
        body in prop::collection::vec(any::<u8>(), 0..300),
    ) -> Sent {
        // What must occur once: of two, servers take one.
        let mut headers: Vec<(String, Vec<u8>)> =
            headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
        for single in ["content-type", "host"] {
            let mut seen = false;
            headers.retain(|(name, _)| name != single || !std::mem::replace(&mut seen, true));
        }
        Sent { headers, body }
    }
}

fn header_map(headers: &[(String, Vec<u8>)]) -> HeaderMap {
    let pair = |(name, value): &(String, Vec<u8>)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value).unwrap())
    };
    headers.iter().map(pair).collect()
}

/// The values of each header, as one: what RFC 9110 says is the same.
fn joined(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut all: Vec<_> = headers
        .keys()
        .filter(|name| *name != "content-length")
        .map(|name| {
            let values: Vec<_> =
                headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
            // Cookies are told apart by what is between them, so they must stay apart.
            let separator = match name.as_str() {
                "cookie" => "; ",
                "set-cookie" => " AND ",
                _ => ", ",
            };
            (name.to_string(), values.join(separator))
        })
        .collect();
    all.sort_unstable();
    all
}

/// What the service got, and what it is to answer.
#[derive(Default)]
struct Scene {
    asked: Option<Request<Vec<u8>>>,
    answer: Option<Response<Body>>,
}

#[test]
fn every_request_and_every_response_survives() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let scene = Arc::new(Mutex::new(Scene::default()));
    let service = {
        let scene = Arc::clone(&scene);
        tower::service_fn(move |request: Request<streamerson::consumer::RequestBody>| {
            let scene = Arc::clone(&scene);
            async move {
                let (parts, body) = request.into_parts();
                let body = to_bytes(Body::new(body), usize::MAX).await.unwrap();
                let mut scene = scene.lock().unwrap();
                scene.asked = Some(Request::from_parts(parts, body.to_vec()));
                Ok::<_, Infallible>(scene.answer.take().unwrap())
            }
        })
    };
    let broker: SharedBroker = Memory::new().into();
    let topic = Topic::new("shop").unwrap();
    let consumer = Consumer::new(topic.clone()).serve_http(service);
    let worker = runtime.spawn(consumer.run(broker.clone(), std::future::pending()));
    let gateway = Gateway::new(Client::new(broker));
    let route = gateway.http(&topic);
    let route = route.forward_headers(["*", "cookie", "authorization", "set-cookie"]);
    let route = route.reply_headers(["*", "set-cookie", "cookie", "authorization"]);
    let app: Router = Router::new().fallback(route);

    let method = "GET|POST|PUT|PATCH|DELETE|OPTIONS|TRACE|PURGE|x-[a-z]{1,8}";
    let path = "/([A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2}){0,40}";
    let query = prop::option::of("([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2}){0,40}");
    // What stands for no body and what is a dead letter are other tests'.
    let status = (200_u16..500).prop_filter("without a body", |status| ![204, 205, 304].contains(status));
    let cases = (method, path, query, sent(), sent(), status);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(256) });
    let result = runner.run(&cases, |(method, path, query, asked, answer, status)| {
        let target = query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
        let mut request = Request::new(Body::from(asked.body.clone()));
        *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
        *request.uri_mut() = target.parse().unwrap();
        *request.headers_mut() = header_map(&asked.headers);
        let mut response = Response::new(Body::from(answer.body.clone()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        *response.headers_mut() = header_map(&answer.headers);
        scene.lock().unwrap().answer = Some(response);

        let (response, body) = runtime.block_on(async {
            let (parts, body) = app.clone().oneshot(request).await.unwrap().into_parts();
            (parts, to_bytes(body, usize::MAX).await.unwrap())
        });
        let seen = scene.lock().unwrap().asked.take();
        let Some(seen) = seen else {
            return Err(TestCaseError::fail(format!(
                "not served: {} {}",
                response.status,
                String::from_utf8_lossy(&body)
            )));
        };
        prop_assert_eq!(seen.method().as_str(), &method);
        prop_assert_eq!(seen.uri().to_string(), target);
        prop_assert_eq!(joined(seen.headers()), joined(&header_map(&asked.headers)));
        prop_assert_eq!(seen.body(), &asked.body);
        let length = seen.headers().get("content-length").map(|length| length.to_str().unwrap().to_owned());
        let said = !asked.body.is_empty() || ["POST", "PUT", "PATCH"].contains(&&*method);
        prop_assert_eq!(length, said.then(|| asked.body.len().to_string()));
        prop_assert_eq!(response.status.as_u16(), status);
        prop_assert_eq!(joined(&response.headers), joined(&header_map(&answer.headers)));
        prop_assert_eq!(&body[..], &answer.body[..]);
        Ok(())
    });
    worker.abort();
    if let Err(error) = result {
        panic!("{error}");
    }
}
