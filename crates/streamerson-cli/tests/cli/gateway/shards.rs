//! Routes of topics in shards, and consumers that share those out.

use std::{collections::HashSet, time::Duration};

use futures_util::future::join_all;
use http::StatusCode;
use streamerson::consumer::{Consumer, Incoming};
use streamerson::core::{Reply, Topic};
use tokio::sync::oneshot;

use super::scene::{Gateway, write};
use crate::support::{Scene, command};

const CONFIG: &str = r#"
[topic.orders]
shards = 4

[[route]]
method = "POST"
path = "/customers/{customer}/orders"
topic = "orders"
shard_by = "{customer}"
event = "order.new"
timeout = "20s"

[[route]]
method = "POST"
path = "/orders"
topic = "orders"
shard_by = "x-customer"
event = "order.new"
timeout = "20s"
"#;

const CUSTOMERS: usize = 40;

#[tokio::test]
async fn requests_reach_the_consumer_that_has_their_shard() {
    let scene = Scene::new().await;
    let gateways =
        [Gateway::start(&scene.server, "one", CONFIG).await, Gateway::start(&scene.server, "two", CONFIG).await];
    let (stops, members): (Vec<_>, Vec<_>) = (0..2).map(|_| member(&scene)).unzip();
    let customers: Vec<_> = (0..CUSTOMERS).map(|n| n.to_string()).collect();
    let asked = customers.iter().map(async |customer| {
        let path = format!("POST /customers/{customer}/orders");
        let by_path = gateways[0].ask(&path, &[], customer).await;
        let by_header = gateways[1].ask("POST /orders", &[("x-customer", customer)], customer).await;
        for answer in [&by_path, &by_header] {
            assert_eq!((answer.status, answer.text()), (200, customer.clone()), "{answer:?}");
        }
        let shards = [&by_path, &by_header].map(|answer| answer.header("etag").map(str::to_owned));
        assert!(shards[0].is_some() && shards[0] == shards[1], "{shards:?}");
        shards[0].clone()
    });
    let shards: HashSet<_> = join_all(asked).await.into_iter().collect();
    assert_eq!(shards.len(), 4, "{shards:?}");

    let unsaid = gateways[0].ask("POST /orders", &[], "{}").await;
    assert_eq!(unsaid.status, 400);
    assert_eq!(unsaid.json()["detail"], "the header x-customer is missing or empty");

    for (stop, member) in stops.into_iter().zip(members) {
        _ = stop.send(());
        member.await.expect("a member that runs");
    }
}

/// A member of the group that answers with the payload and the shard that it came from.
fn member(scene: &Scene) -> (oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let answer = async |incoming: Incoming| {
        let shard = incoming.delivery().topic.to_string();
        Reply::new(incoming.message().payload.clone())
            .with_status(StatusCode::OK)
            .with_header("http.header.etag", &*shard)
    };
    let consumer = Consumer::new(Topic::new("orders").expect("a topic")).shards(4).fallback(answer);
    let (stop, stopped) = oneshot::channel();
    let run = consumer.block(Duration::from_millis(100)).run(scene.broker.clone(), async { _ = stopped.await });
    (stop, tokio::spawn(async { run.await.expect("a member that runs") }))
}

#[tokio::test]
async fn a_gateway_that_means_other_shards_does_not_start() {
    let scene = Scene::new().await;
    let _agrees = Gateway::start(&scene.server, "agrees", CONFIG).await;
    let config = format!("listen = \"127.0.0.1:0\"\n{}", CONFIG.replace("shards = 4", "shards = 8"));
    let path = write(&scene.server, "disagrees", &config);
    let mut disagrees = command(&format!("gateway --config {}", path.display()));
    disagrees.env("STREAMERSON_BROKER", scene.server.url());
    let finished = streamerson_test::Process::spawn(disagrees).wait().await;
    crate::support::assert_fails(&finished, 1, &["default:orders is in 4 shards for others, and in 8 here"]);
}
