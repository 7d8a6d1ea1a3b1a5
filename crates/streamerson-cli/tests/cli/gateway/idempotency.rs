//! What the file says of an `Idempotency-Key`, by two gateways on one Redis.

use super::scene::{Gateway, Worker};
use crate::support::Scene;

const CONFIG: &str = r#"
[[route]]
method = "POST"
path = "/ask/{case}"
topic = "orders"
event = "order.update"
timeout = "15s"
[route.idempotency]
principal = "x-user"
required = true
reply_bytes_max = 400

[[route]]
method = "POST"
path = "/tell"
topic = "views"
event = "page.viewed"
mode = "emit"
idempotency = { ttl = "1h" }
"#;

const JSON: (&str, &str) = ("content-type", "application/json");
const ANN: (&str, &str) = ("x-user", "ann");

#[tokio::test]
async fn one_of_many_requests_is_handled_whichever_gateway_it_comes_through() {
    let scene = Scene::new().await;
    let gateways =
        [Gateway::start(&scene.server, "one", CONFIG).await, Gateway::start(&scene.server, "two", CONFIG).await];
    let worker = Worker::start(&scene.broker, "orders").await;
    let key = ("idempotency-key", "\"k1\"");

    let mut first = gateways[0].connect().await;
    first.send("POST /ask/slow", &[JSON, ANN, key], "{}").await.unwrap();
    streamerson_test::eventually("it to be handled", async || {
        (scene.pending_and_lag("orders", "orders").await == Some((1, Some(0)))).then_some(())
    })
    .await;
    for gateway in &gateways {
        let refused = gateway.ask("POST /ask/slow", &[JSON, ANN, key], "{}").await;
        assert_eq!((refused.status, refused.header("retry-after")), (409, Some("1")), "{refused:?}");
    }
    let first = first.receive().await.unwrap();
    assert_eq!((first.status, first.text().as_str()), (200, "\"slow\""));
    for gateway in &gateways {
        let begun = std::time::Instant::now();
        let again = gateway.ask("POST /ask/slow", &[JSON, ANN, key], "{}").await;
        assert_eq!((again.status, again.text()), (200, first.text()));
        assert_eq!(again.header("x-request-id"), first.header("x-request-id"), "it is the same message");
        assert!(begun.elapsed() < super::scene::SLOW, "it was not handled again");
        assert_eq!(gateway.ask("POST /ask/slow", &[JSON, ANN, key], "{ }").await.status, 422);
        assert_eq!(gateway.ask("POST /ask/slow", &[JSON, ANN], "{}").await.status, 400);
    }
    // Bob has keys of his own.
    assert_eq!(gateways[1].ask("POST /ask/echo", &[JSON, ("x-user", "bob"), key], "{}").await.text(), "{}");

    let created = ("idempotency-key", "k2");
    for gateway in &gateways {
        let answer = gateway.ask("POST /ask/created", &[JSON, ANN, created], "{}").await;
        assert_eq!((answer.status, answer.header("location")), (201, Some("/7")));
    }
    let mut ids = Vec::new();
    for gateway in &gateways {
        let answer = gateway.ask("POST /tell", &[JSON, ("idempotency-key", "e")], "{}").await;
        assert_eq!(answer.status, 202);
        ids.push(answer.json()["id"].clone());
    }
    assert_eq!(ids[0], ids[1]);
    assert_eq!(scene.server.command(["XLEN", "{default:views}:in"]).await.int(), 1);
    let kept = scene.server.command(["KEYS", "{default:views}:idem:*"]).await;
    let mut keys = kept.items().iter().map(|key| key.text());
    let record = keys.find(|key| !key.ends_with(":try") && !key.ends_with(":bytes")).expect("a record");
    let left = scene.server.command(["PTTL", record]).await.int();
    assert!((1..=3_600_000).contains(&left), "{left}");

    // A gateway that is told to stop finishes what has a key, though nobody waits for it any more.
    let [one, two] = gateways;
    let key = ("idempotency-key", "k3");
    let mut hung_up = one.connect().await;
    hung_up.send("POST /ask/slow", &[JSON, ANN, key], "{}").await.unwrap();
    streamerson_test::eventually("it to be handled", async || {
        (scene.pending_and_lag("orders", "orders").await == Some((1, Some(0)))).then_some(())
    })
    .await;
    drop(hung_up);
    assert_eq!(one.process.terminate().await.status.code(), Some(0));
    let begun = std::time::Instant::now();
    let again = two.ask("POST /ask/slow", &[JSON, ANN, key], "{}").await;
    assert_eq!((again.status, again.text().as_str()), (200, "\"slow\""));
    assert!(begun.elapsed() < super::scene::SLOW, "it was not handled again");
    worker.stop().await;
    two.process.terminate().await;
}
