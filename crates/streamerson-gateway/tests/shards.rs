//! Requests go to the shard of their key, and nowhere without one.

mod support;

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    routing::{any, post},
};
use streamerson_core::{Call, Topic, shards::Shards};
use streamerson_gateway::{Idempotency, ShardKey};

use self::support::{Bench, echo, get, post as post_to, send};

const COUNT: u32 = 4;

#[derive(serde::Serialize, serde::Deserialize)]
struct Order {}

impl Call for Order {
    const TOPIC: &'static str = "orders";
    const EVENT: &'static str = "order.new";
    type Reply = serde_json::Value;
}

/// A topic in shards, each with a consumer that answers with what it got and where.
async fn bench() -> (Bench, Shards) {
    let bench = Bench::new();
    let shards = shards_of(&bench);
    for shard in shards.iter() {
        let at = Bench { broker: bench.broker.clone(), gateway: bench.gateway.clone(), topic: shard.clone() };
        let name = shard.to_string();
        at.consume(move |message| Some(echo(message)?.with_header("http.header.etag", &*name))).await;
    }
    (bench, shards)
}

fn shards_of(bench: &Bench) -> Shards {
    Shards::new(bench.topic.clone(), COUNT).expect("a topic")
}

async fn appended(bench: &Bench, topic: &Topic) -> u64 {
    let info = bench.broker.stream_info(&topic.inbound()).await.expect("a broker");
    info.map_or(0, |info| info.len)
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_route_sends_to_the_shard_of_the_key() {
    let (bench, shards) = bench().await;
    let by_param = ShardKey::param("customer");
    let app = Router::new()
        .route(
            "/ask/{customer}",
            any(bench.gateway.request(&bench.topic, "order.get").sharded(shards.clone(), by_param.clone())),
        )
        .route("/call/{customer}", post(bench.gateway.call::<Order>().sharded(shards.clone(), by_param.clone())))
        .route(
            "/all/{customer}/{*rest}",
            any(bench.gateway.http(&bench.topic).sharded(shards.clone(), by_param.clone())),
        )
        .route(
            "/by-header",
            any(bench
                .gateway
                .request(&bench.topic, "order.get")
                .sharded(shards.clone(), ShardKey::header("X-Customer"))),
        );
    let mut seen = std::collections::HashSet::new();
    for customer in 0..40 {
        let customer = format!("customer-{customer}");
        let shard = shards.of(&customer).to_string();
        let by_header = Request::get("/by-header").header("x-customer", &customer).body(Body::empty()).unwrap();
        for answer in [
            get(&app, &format!("/ask/{customer}")).await,
            // A key is what the path means, however it is written.
            get(&app, &format!("/ask/{}", customer.replace('-', "%2D"))).await,
            send(&app, post_to(&format!("/call/{customer}"), "application/json", "{}")).await,
            get(&app, &format!("/all/{customer}/a/b")).await,
            send(&app, by_header).await,
        ] {
            assert_eq!((answer.status, answer.header("etag")), (StatusCode::OK, Some(&*shard)), "{answer:?}");
        }
        seen.insert(shard);
    }
    assert_eq!(seen.len(), COUNT as usize);
    assert_eq!(bench.appended().await, 0, "the topic itself has no messages");
}

#[tokio::test(start_paused = true)]
async fn events_go_to_the_shard_of_the_key() {
    let bench = Bench::new();
    let shards = shards_of(&bench);
    let route = bench.gateway.emit(&bench.topic, "order.seen").sharded(shards.clone(), ShardKey::param("customer"));
    let app = Router::new().route("/tell/{customer}", post(route));
    let mut expected = std::collections::HashMap::new();
    for customer in 0..40 {
        let answer = send(&app, post_to(&format!("/tell/{customer}"), "application/json", "{}")).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        *expected.entry(shards.of(customer.to_string())).or_insert(0) += 1;
    }
    for shard in shards.iter() {
        assert_eq!(appended(&bench, &shard).await, expected[&shard], "{shard}");
    }
    assert_eq!(bench.appended().await, 0);
}

#[tokio::test(start_paused = true)]
async fn without_its_key_a_request_is_400_and_nothing_is_appended() {
    let (bench, shards) = bench().await;
    let by = |key| bench.gateway.request(&bench.topic, "order.get").sharded(shards.clone(), key);
    let app = Router::new()
        .route("/by-header", any(by(ShardKey::header("x-customer"))))
        // The route has another parameter than it says.
        .route("/by-param/{client}", any(by(ShardKey::param("customer"))));
    let with = |value: &str| Request::get("/by-header").header("x-customer", value).body(Body::empty()).unwrap();
    for (answer, what) in [
        (get(&app, "/by-header").await, "the header x-customer is missing or empty"),
        (send(&app, with("")).await, "the header x-customer is missing or empty"),
        (get(&app, "/by-param/7").await, "the path's {customer} is missing or empty"),
    ] {
        assert_eq!((answer.status, answer.json()["detail"].as_str()), (StatusCode::BAD_REQUEST, Some(what)));
    }
    for shard in shards.iter() {
        assert_eq!(appended(&bench, &shard).await, 0, "{shard}");
    }
    assert_eq!(send(&app, with("customer-1")).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_request_of_another_shard_is_another_request() {
    let (bench, shards) = bench().await;
    let route = bench.gateway.request(&bench.topic, "order.new");
    let route = route.sharded(shards.clone(), ShardKey::header("x-customer")).idempotent(Idempotency::default());
    let app = Router::new().route("/orders", post(route));
    let ask = async |customer: &str| {
        let request = Request::post("/orders").header("idempotency-key", "\"k\"").header("x-customer", customer);
        send(&app, request.body(Body::empty()).unwrap()).await.status
    };
    let other = (0..).map(|n| n.to_string()).find(|other| shards.of(other) != shards.of("a")).unwrap();
    assert_eq!(ask("a").await, StatusCode::OK);
    assert_eq!(ask("a").await, StatusCode::OK);
    assert_eq!(ask(&other).await, StatusCode::UNPROCESSABLE_ENTITY);
}
