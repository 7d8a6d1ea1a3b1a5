//! Events, in both directions.

use serde_json::{Value as Json, json};
use streamerson_test::Process;

use super::Scene;

fn json(line: &str) -> Json {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))
}

#[tokio::test]
async fn what_ours_emit_their_workers_and_readers_get() {
    let scene = Scene::new().await;
    let (worker, reader) = (scene.original("worker", "").await, scene.original("reader", "in").await);
    let emitted = scene.ours("emit shop:orders order.seen --wire js -H source:web-1", &[r#"{"n":1}"#]).wait().await;
    let id = json(&emitted.stdout)["id"].clone();
    assert_eq!(json(&worker.stdout_line("order.seen").await), json!({"type": "order.seen", "payload": {"n": 1}}));
    let expected = json!({"type": "order.seen", "id": id, "source": "web-1", "protocol": "json", "payload": {"n": 1}});
    assert_eq!(json(&reader.stdout_line("order.seen").await), expected);
    // Workers answer no event.
    assert!(scene.entries(scene.topic.outbound()).await.is_empty());
}

#[tokio::test]
async fn what_ours_tell_everyone_they_hear() {
    let scene = Scene::new().await;
    let reader = scene.original("reader", "out").await;
    let mut everyone = scene.broker.publisher(scene.topic.outbound());
    let message = streamerson::Message::json("order.sold", &json!({"n": 2})).unwrap();
    futures_util::SinkExt::send(&mut everyone, message).await.unwrap();
    let heard = json(&reader.stdout_line("order.sold").await);
    assert_eq!((&heard["type"], &heard["payload"]), (&json!("order.sold"), &json!({"n": 2})));
}

#[tokio::test]
async fn what_they_write_ours_get() {
    let scene = Scene::new().await;
    let echo = scene.ours("echo shop:orders --wire js", &[]);
    let tails = ["in", "out"].map(|stream| {
        let arguments = format!("tail shop:orders --wire js --from start --stream {stream} --count");
        scene.ours(&arguments, &[if stream == "in" { "2" } else { "3" }])
    });
    let mut incoming = scene.start_original("writer", "in");
    // The second goes through a Writable, which calls everything `resp` and wants to be answered.
    incoming.write_stdin("order.seen id-1 {\"n\":1}\nresp id-2 {\"n\":2}\n").await;
    let mut everyone = scene.start_original("writer", "out");
    everyone.write_stdin("order.sold id-3 {\"n\":3}\norder.sold id-4 \"four\"\n").await;
    for writer in [&mut incoming, &mut everyone] {
        writer.close_stdin();
    }
    let [told, heard] = tails.map(Process::wait);
    let lines = |shown: &str| shown.lines().map(json).collect::<Vec<_>>();
    let told = lines(&told.await.stdout);
    assert_eq!(
        told.iter().map(|line| (&line["event"], &line["id"], &line["payload"]["n"])).collect::<Vec<_>>(),
        [(&json!("order.seen"), &json!("id-1"), &json!(1)), (&json!("resp"), &json!("id-2"), &json!(2))]
    );
    assert_eq!((&told[0]["inbox"], told[1]["inbox"].is_string()), (&Json::Null, true));
    let mut heard: Vec<_> = lines(&heard.await.stdout).into_iter().map(|line| line["id"].to_string()).collect();
    heard.sort();
    assert_eq!(heard, ["\"id-2\"", "\"id-3\"", "\"id-4\""]);
    assert_eq!(echo.terminate().await.status.code(), Some(0));
}
