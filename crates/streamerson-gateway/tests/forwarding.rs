//! What reaches the consumer, and how routes live in a router.

mod support;

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderValue, Request},
    middleware::{self, Next},
    routing::{any, get, options, post},
};
use serde_json::json;
use streamerson_core::{EventType, Reply, Topic, client::Client, shards::Shards};
use streamerson_gateway::{Gateway, Idempotency, ShardKey};

use self::support::{Bench, echo, post as post_to, send};

#[tokio::test]
async fn a_consumer_gets_the_request_as_it_came() {
    let bench = Bench::new();
    let _messages = bench.consume(echo).await;
    let route = bench.gateway.request(&bench.topic, "order.get").forward_headers(["x-request-id", "Cookie"]);
    let app = Router::new().route("/users/{user}/orders/{orderId}", any(route));

    let request = Request::put("/users/Zo%C3%AB%2F1/orders/7?a=1&b=%20")
        .header("content-type", "application/json")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .header("tracestate", "a=1")
        .header("x-request-id", "one")
        .header("x-request-id", "two")
        .header("cookie", "session=1")
        .header("authorization", "Bearer secret")
        .header("x-other", "1")
        .body(Body::from("{ \"n\":1}"))
        .unwrap();
    let answer = send(&app, request).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let expected = json!({
        "event": "order.get",
        "payload": "{ \"n\":1}",
        "headers": {
            "http.method": "PUT",
            "http.path": "/users/Zo%C3%AB%2F1/orders/7",
            "http.query": "a=1&b=%20",
            "http.param.user": "Zoë/1",
            "http.param.orderid": "7",
            "content-type": "application/json",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "tracestate": "a=1",
            "http.header.x-request-id": "one, two",
            "http.header.cookie": "session=1",
        },
    });
    assert_eq!(answer.json(), expected);
}

#[tokio::test]
async fn routes_live_beside_ordinary_ones_with_nest_layers_and_state() {
    #[derive(Clone)]
    struct App {
        greeting: &'static str,
    }

    /// A layer that says who is asking, as an application's own authentication would.
    async fn identify(mut request: axum::extract::Request, next: Next) -> axum::response::Response {
        request.headers_mut().insert("x-user", HeaderValue::from_static("ann"));
        let mut response = next.run(request).await;
        response.headers_mut().insert("x-layer", HeaderValue::from_static("seen"));
        response
    }

    let bench = Bench::new();
    let _messages = bench.consume(echo).await;
    let orders = Router::new()
        .route("/{id}", get(bench.gateway.request(&bench.topic, "order.get").forward_headers(["x-user"])))
        .layer(middleware::from_fn(identify));
    let app: Router = Router::new()
        .route("/hello", get(|State(app): State<App>| async move { app.greeting }))
        .nest("/shops/{shop}/orders", orders)
        .with_state(App { greeting: "hello" });

    assert_eq!(support::get(&app, "/hello").await.body, "hello");
    let answer = support::get(&app, "/shops/north/orders/7").await;
    assert_eq!(answer.header("x-layer"), Some("seen"));
    let headers = &answer.json()["headers"];
    assert_eq!(headers["http.path"], "/shops/north/orders/7");
    assert_eq!(headers["http.param.shop"], "north");
    assert_eq!(headers["http.param.id"], "7");
    assert_eq!(headers["http.header.x-user"], "ann");
    assert_eq!(support::get(&app, "/shops/north").await.status, 404);
    let answer = send(&app, Request::post("/shops/north/orders/7").body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, Some("GET,HEAD")));
}

/// A layer tells consumers who is logged in; a client that names that header in `Connection` is refused on every kind of route,
/// and cannot be taken for a client that is not logged in.
#[tokio::test]
async fn a_client_cannot_remove_a_header_that_a_layer_sets() {
    async fn identify(mut request: axum::extract::Request, next: Next) -> axum::response::Response {
        request.headers_mut().insert("x-user", HeaderValue::from_static("ann"));
        next.run(request).await
    }
    let bench = Bench::new();
    let mut messages = bench.consume(echo).await;
    let (gateway, topic) = (&bench.gateway, &bench.topic);
    let once = Idempotency::default().principal("x-user");
    let shards = Shards::new(Topic::new("parts").unwrap(), 4).unwrap();
    let app = Router::new()
        .route("/ask", post(gateway.request(topic, "order.get").forward_headers(["x-user"])))
        .route("/tell", post(gateway.emit(topic, "order.seen").forward_headers(["x-user"])))
        .route("/once", post(gateway.request(topic, "order.new").idempotent(once)))
        .route("/parts", post(gateway.request(topic, "order.new").sharded(shards, ShardKey::header("x-user"))))
        .route("/whole", any(gateway.http(topic)))
        .layer(middleware::from_fn(identify));
    let ask = |path: &str, connection: &str| {
        let request = post_to(path, "text/plain", "1");
        let (mut parts, body) = request.into_parts();
        parts.headers.insert("connection", HeaderValue::from_str(connection).unwrap());
        send(&app, Request::from_parts(parts, body))
    };
    for path in ["/ask", "/tell", "/once", "/parts", "/whole"] {
        let answer = ask(path, "keep-alive, X-USER").await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (400, Some("application/problem+json")));
        assert!(answer.json()["detail"].as_str().unwrap().contains("x-user"), "{path}: {answer:?}");
    }
    assert_eq!(bench.appended().await, 0);
    let answer = ask("/ask", "keep-alive, x-other").await;
    assert_eq!(answer.json()["headers"]["http.header.x-user"], "ann");
    messages.recv().await.unwrap();
}

#[tokio::test]
async fn head_and_options_are_requests_like_any_other() {
    let bench = Bench::new();
    let mut messages = bench.consume(echo).await;
    let route = bench.gateway.request(&bench.topic, "order.get");
    let app = Router::new().route("/", get(route.clone()).merge(options(route)));

    for method in ["HEAD", "OPTIONS"] {
        // Many clients send a content type with no content.
        let request = Request::builder().method(method).uri("/").header("content-type", "application/json");
        let answer = send(&app, request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body.is_empty(), method == "HEAD");
        assert_eq!(messages.recv().await.unwrap().headers.get("http.method"), Some(method));
    }
}

#[tokio::test]
async fn an_event_is_appended_under_the_id_that_is_answered() {
    let bench = Bench::new();
    let mut messages = bench.consume(|_| None).await;
    let app = Router::new().route("/views", post(bench.gateway.emit(&bench.topic, "page.viewed")));

    let answer = send(&app, post_to("/views", "application/json", "{\"page\":1}")).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (202, Some("application/json")));
    let message = messages.recv().await.unwrap();
    assert_eq!(answer.json(), json!({ "id": &*message.id }));
    assert_eq!((&*message.event, &message.payload[..]), ("page.viewed", &b"{\"page\":1}"[..]));
    assert_eq!((message.inbox, message.deadline), (None, None));
}

#[tokio::test]
async fn of_many_gateways_on_one_broker_each_gets_its_own_replies() {
    let bench = Bench::new();
    let echo_payload = |message: &streamerson_core::Message| {
        Some(Reply::new(message.payload.clone()).into_message(message.id.clone()))
    };
    let _messages = bench.consume(echo_payload).await;
    let apps = [(); 3].map(|()| {
        let gateway = Gateway::new(Client::new(bench.broker.clone()));
        let app: Router = Router::new().route("/", post(gateway.request(&bench.topic, "order.get")));
        (app, gateway)
    });

    let mut calls = tokio::task::JoinSet::new();
    for n in 0..150 {
        let app = apps[n % apps.len()].0.clone();
        calls.spawn(async move { (n, send(&app, post_to("/", "text/plain", n.to_string())).await.body) });
    }
    for (n, body) in calls.join_all().await {
        assert_eq!(body, n.to_string());
    }
    assert!(apps.iter().all(|(_, gateway)| gateway.client().pending() == 0));
}

#[tokio::test]
async fn what_only_the_programmer_can_get_wrong_panics_where_the_route_is_made() {
    let bench = Bench::new();
    let panics = |make: &dyn Fn()| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(make))
            .expect_err("no panic")
            .downcast::<String>()
            .unwrap()
    };
    let route = || bench.gateway.request(&bench.topic, EventType::new("order.get").unwrap());
    let message = panics(&|| drop(bench.gateway.request(&bench.topic, "not an event")));
    assert!(message.contains("not a valid event type"), "{message}");
    let message = panics(&|| drop(bench.gateway.emit(&bench.topic, "reply")));
    assert!(message.contains("reserved"), "{message}");
    let message = panics(&|| drop(route().forward_headers(["no header"])));
    assert!(message.contains("not a header name"), "{message}");
    let message = panics(&|| drop(route().reply_headers(["connection"])));
    assert!(message.contains("belongs to the connection"), "{message}");
}
