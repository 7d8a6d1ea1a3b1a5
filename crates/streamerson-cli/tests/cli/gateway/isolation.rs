//! The worker of one topic, with the Redis user that docs/redis.md gives it, against the callers of another topic.

use std::{fs, time::Duration};

use streamerson_test::{RedisServer, RespClient, Value, eventually};

use super::scene::{Gateway, Worker};
use crate::support::Scene;

const ROUTES: &str = r#"
[[route]]
method = "POST"
path = "/orders/{case}"
topic = "shop:orders"
event = "order.new"
timeout = "15s"
[route.idempotency]

[[route]]
method = "POST"
path = "/other"
topic = "hostile:other"
event = "other.ask"
timeout = "15s"
"#;

const JSON: (&str, &str) = ("content-type", "application/json");

/// The user of the document with this name, for another topic.
async fn add_user(server: &RedisServer, name: &str, change: impl Fn(&str) -> String) {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis.md");
    let page = fs::read_to_string(page).expect("the document");
    let line = page.lines().find(|line| line.starts_with(&format!("ACL SETUSER {name} "))).expect("the line");
    let line = change(line);
    assert_eq!(server.command(line.split(' ')).await.text(), "OK", "{line}");
}

/// The tokens of the line of the newest message in a topic.
async fn newest(client: &mut RespClient, topic: &str) -> Vec<String> {
    let stream = format!("{{{topic}}}:in");
    eventually("a message", async || {
        let entries = client.command(["XREVRANGE", &stream, "+", "-", "COUNT", "1"]).await.expect("an answer");
        let fields = entries.items().first()?.items()[1].items();
        Some(fields[1].text().split(' ').map(str::to_owned).collect())
    })
    .await
}

#[tokio::test]
async fn a_worker_of_another_topic_cannot_answer_nor_forge_what_is_kept() {
    let scene = Scene::new().await;
    let server = &scene.server;
    add_user(server, "gateway", |line| line.replace("~{shop:*}", "~{*}")).await;
    add_user(server, "orders-worker", |line| line.replace("shop:orders", "hostile:other")).await;
    let broker = format!("broker = \"redis://gateway:change-me-1@{}\"", server.address());
    let gateway = Gateway::start(server, "isolation", &format!("{broker}\n{ROUTES}")).await;
    let mut attacker = RespClient::connect(server.address()).await.expect("a connection");
    attacker.command(["AUTH", "orders-worker", "change-me-4"]).await.expect("an answer");
    let mut admin = server.client().await;

    let mut other = gateway.connect().await;
    other.send("POST /other", &[JSON], "{}").await.expect("sent");
    let [_, own_id, own_inbox, _] = newest(&mut attacker, "hostile:other").await.try_into().expect("four tokens");
    let mut victim = gateway.connect().await;
    let key = ("idempotency-key", "k");
    victim.send("POST /orders/echo", &[JSON, key], "\"genuine\"").await.expect("sent");
    let [_, id, inbox, _] = newest(&mut admin, "shop:orders").await.try_into().expect("four tokens");

    // The attacker may write any entry into its own inbox; its own reply comes behind the forged one.
    let own_inbox = format!("{{hostile:other}}:re:{own_inbox}");
    for (id, payload) in [(&id, "\"forged\""), (&own_id, "\"own\"")] {
        let line = format!("reply {id} - -");
        let words = ["XADD", &own_inbox, "*", "m", &line, "h", r#"{"status":"200"}"#, "p", payload];
        assert!(matches!(attacker.command(words).await.expect("an answer"), Value::Bulk(_)));
    }
    // The client has read both once its own has come.
    assert_eq!(other.receive().await.expect("an answer").text(), "\"own\"");
    let kept = admin.command(["KEYS", "{shop:orders}:idem:*"]).await.expect("an answer");
    let mut keys: Vec<_> = kept.items().iter().map(|key| key.text().to_owned()).collect();
    assert!(keys.len() >= 2, "a record and an attempt: {keys:?}");
    keys.extend(["{shop:orders}:in".into(), "{shop:orders}:dead".into(), format!("{{shop:orders}}:re:{inbox}")]);
    for key in keys {
        for words in [["XADD", &key, "*", "m", "x"].as_slice(), &["SET", &key, "x"]] {
            let answer = attacker.command(words).await.expect("an answer");
            assert!(matches!(&answer, Value::Error(error) if error.starts_with("NOPERM")), "{words:?}: {answer:?}");
        }
    }

    let worker = Worker::start(&scene.broker, "shop:orders").await;
    assert_eq!(victim.receive().await.expect("an answer").text(), "\"genuine\"");
    assert_eq!(gateway.ask("POST /orders/echo", &[JSON, key], "\"genuine\"").await.text(), "\"genuine\"");
    worker.stop().await;
    gateway.process.terminate().await;
}

/// Clients of a route that takes keys cannot fill the server: neither with replies nor with keys alone.
#[tokio::test]
async fn clients_cannot_fill_the_server_with_keys() {
    let scene = Scene::new().await;
    let bound = "[topic.\"shop:orders\"]\nidempotency_bytes_max = 100000\n";
    let gateway = Gateway::start(&scene.server, "keys", &format!("{ROUTES}{bound}")).await;
    let worker = Worker::start(&scene.broker, "shop:orders").await;
    let body = format!("\"{}\"", "x".repeat(10_000));
    let mut connection = gateway.connect().await;
    let (mut handled, mut refused) = (0, 0);
    for number in 0..100 {
        let key = number.to_string();
        let headers = [JSON, ("idempotency-key", &*key)];
        let answer = connection.exchange("POST /orders/echo", &headers, &body).await.expect("an answer");
        match answer.status {
            200 => handled += 1,
            503 => {
                assert_eq!(answer.json()["reason"], "overloaded", "{answer:?}");
                refused += 1;
            }
            _ => panic!("{answer:?}"),
        }
    }
    assert!((6..=12).contains(&handled), "{handled} replies of 10,000 bytes in 100,000");
    assert_eq!(handled + refused, 100);
    let mut kept = 0;
    for key in scene.server.command(["KEYS", "{shop:orders}:idem:*"]).await.items() {
        if let Value::Int(bytes) = scene.server.command(["MEMORY", "USAGE", key.text()]).await {
            kept += bytes;
        }
    }
    assert!(kept < 120_000, "{kept} bytes are kept");
    // A client that comes back with a key that is known is answered all the same, and so is one without a key.
    for headers in [vec![JSON, ("idempotency-key", "0")], vec![JSON]] {
        assert_eq!(gateway.ask("POST /orders/echo", &headers, &body).await.status, 200);
    }
    tokio::time::timeout(Duration::from_secs(20), worker.stop()).await.expect("a worker that stops");
    gateway.process.terminate().await;
}
