//! What PROTOCOL.md says of the key `{ns:topic}:idem:<id>`, made by hand.

use streamerson_core::Reply;
use streamerson_test::eventually;

use crate::scene::{Scene, created, hash, keyed, with};

#[tokio::test]
async fn the_key_and_its_value_are_as_the_page_says() {
    let mut scene = Scene::over_redis().await;
    let first = scene.begin(with(
        "/principals?a=1",
        "{\"n\":1}",
        &[("idempotency-key", "\"k \\\"1\\\"\""), ("authorization", "Bearer ann")],
    ));
    let message = scene.message().await;
    let id = hash(&["id", "default:orders", "order.new", "k \"1\"", "authorization", "Bearer ann"], 24);
    let asked = ["asked", "1", "POST", "1", "/principals", "1", "a=1", "1", "application/json", "{\"n\":1}"];
    let asked = hash(&asked, 32);
    assert_eq!(message.id.to_string(), hash(&["message id", &id, &asked], 24));
    let key = format!("{{default:orders}}:idem:{id}");

    let server = scene.server.as_ref().unwrap();
    let value = server.command(["GET", &key]).await.text().to_owned();
    assert_eq!(value, format!("{asked} ?\n"));
    let left = server.command(["PTTL", &key]).await.int();
    // Without a reply it stays longer, by the time of an attempt.
    assert!((3_600_001..=3_607_000).contains(&left), "{left}");
    let attempt_key = format!("{key}:try");
    let attempt = server.command(["GET", &attempt_key]).await.text().to_owned();
    assert!(!attempt.is_empty() && attempt.bytes().all(|byte| byte.is_ascii_graphic()), "{attempt}");
    // 2 s past the deadline of 5 s.
    let left = server.command(["PTTL", &attempt_key]).await.int();
    assert!((1..=7_000).contains(&left), "{left}");

    scene.bench.reply(&message, created()).await;
    first.await.unwrap();
    let server = scene.server.as_ref().unwrap();
    let value = server.command(["GET", &key]).await.text().to_owned();
    let parts: Vec<_> = value.splitn(3, '\n').collect();
    assert_eq!((parts[0], parts[2]), (format!("{asked} -").as_str(), "{\"order\":7}"));
    let head: serde_json::Value = serde_json::from_str(parts[1]).unwrap();
    let headers = serde_json::json!({ "http.header.location": "/orders/7", "http.header.etag": "\"1\"" });
    assert_eq!(head, serde_json::json!({ "status": 201, "error": false, "headers": headers }));
    let left = server.command(["PTTL", &key]).await.int();
    assert!((3_000_000..=3_600_000).contains(&left), "{left}");
    // The bytes of the record are counted, by the time when it expires.
    let bytes = (200 + key.len() + value.len()) as i64;
    let meter = "{default:orders}:idem:bytes";
    let counted = eventually("the bytes to be counted", async || {
        let counted = server.command(["HGETALL", meter]).await;
        let (mut sum, mut reserved) = (0, 0);
        for field in counted.items().chunks_exact(2) {
            let bytes: i64 = field[1].text().parse().unwrap();
            // The field of a reservation is the time when it ends and its holder.
            match field[0].text().split_once(':') {
                None => sum += bytes,
                Some((ends, holder)) => {
                    assert!(ends.parse::<u64>().is_ok() && !holder.is_empty(), "{ends}:{holder}");
                    reserved += bytes;
                }
            }
        }
        (sum > 0 && reserved == 0).then_some(sum)
    });
    assert_eq!(counted.await, bytes);

    // What is absent counts as such, and a status that was left open is none.
    _ = scene.handled(keyed("/orders", "k", "{}"), Reply::new("1")).await;
    let asked = hash(&["asked", "1", "POST", "1", "/orders", "0", "", "1", "application/json", "{}"], 32);
    let server = scene.server.as_ref().unwrap();
    let id = hash(&["id", "default:orders", "order.new", "k"], 24);
    let value = server.command(["GET", &format!("{{default:orders}}:idem:{id}")]).await.text().to_owned();
    assert_eq!(value, format!("{asked} -\n{{\"status\":null,\"error\":false,\"headers\":{{}}}}\n1"));
}
