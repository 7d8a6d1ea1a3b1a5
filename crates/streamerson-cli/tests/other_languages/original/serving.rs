//! The original's clients ask workers of ours.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use streamerson::{
    Call, Consumer, Json as JsonBody, Problem, Topic,
    core::dead_letter::{DeadLetters, Filter},
};
use tokio::sync::oneshot;

use super::Scene;
use crate::gateway::requests;

#[tokio::test]
async fn every_request_is_answered() {
    let scene = Scene::new().await;
    let echo = scene.ours("echo shop:orders --wire js", &[]);
    // Of two clients, since all hear the replies to all.
    let (half, rest) = (requests() / 2, requests() - requests() / 2);
    let clients = [half, rest].map(|requests| (requests, scene.start_original("load", &requests.to_string())));
    for (requests, client) in clients {
        for thousand in 1..=requests / 1000 {
            client.stdout_line(&format!("{thousand}000 ended")).await;
        }
        let count: Json = serde_json::from_str(&client.stdout_line("answered").await).unwrap();
        assert_eq!(count, json!({"answered": requests, "wrong": 0, "lost": 0}), "{}", client.wait().await.stderr);
    }
    assert_eq!(scene.asked().await as u64, requests());
    assert_eq!(echo.terminate().await.status.code(), Some(0));
}

#[derive(Serialize, Deserialize)]
struct Greet {
    name: String,
}

impl Call for Greet {
    const TOPIC: &'static str = "shop:orders";
    const EVENT: &'static str = "greet";
    type Reply = String;
}

async fn greet(JsonBody(greet): JsonBody<Greet>) -> Result<JsonBody<String>, Problem> {
    match greet.name.as_str() {
        "" => Err(Problem::new(StatusCode::NOT_FOUND).with_detail("who?")),
        name => Ok(JsonBody(format!("Hello, {name}!"))),
    }
}

async fn panics() {
    panic!("no luck");
}

#[tokio::test]
async fn contracts_and_errors_are_theirs_too() {
    let scene = Scene::new().await;
    let (stop, stopped) = oneshot::channel::<()>();
    let consumer = Consumer::new(scene.topic.clone()).answer(greet).on("panics", panics);
    let worker = tokio::spawn(consumer.run(scene.broker.clone(), async { _ = stopped.await }));
    let mut client = scene.original("client", "").await;
    let mut said: Vec<Json> = Vec::new();
    for line in [r#"greet {"name":"Ada"}"#, r#"greet {"name":""}"#, "greet [7]", "panics {}", "other {}"] {
        client.write_stdin(format!("{line}\n")).await;
        let expected = said.len() + 2;
        let answered = async || client.stdout().lines().nth(expected - 1).map(str::to_owned);
        let line = streamerson_test::eventually("an answer", answered).await;
        said.push(serde_json::from_str(&line).unwrap());
    }
    assert_eq!(said[0], "Hello, Ada!");
    let statuses: Vec<_> = said[1..].iter().map(|problem| problem["status"].as_u64()).collect();
    assert_eq!(statuses, [Some(404), Some(422), Some(502), Some(501)], "{said:?}");
    assert_eq!((&said[1]["detail"], &said[1]["title"]), (&json!("who?"), &json!("Not Found")));
    // What happened inside is for the dead letter.
    assert!(!said[3].to_string().contains("no luck"), "{}", said[3]);
    let dead = DeadLetters::new(scene.broker.clone(), scene.topic.clone());
    let letters = dead.first_page(&Filter::default()).await.unwrap().letters;
    assert_eq!(letters.len(), 2, "{letters:?}");
    // Ours get the same from the same worker.
    let ours = scene.client().topic(&scene.topic).call(Greet { name: "Grace".into() }).await;
    assert_eq!(ours.unwrap(), "Hello, Grace!");
    drop(stop);
    worker.await.unwrap().unwrap();
    assert_eq!(client.terminate().await.status.code(), Some(0));
}

/// A reply key that is not the topic's own is another's stream, and nobody writes there.
#[tokio::test]
async fn a_reply_that_is_wanted_elsewhere_is_a_dead_letter() {
    let scene = Scene::new().await;
    let other = Topic::new("shop:other").unwrap().with_wire(scene.topic.wire()).outbound();
    let inbound = scene.topic.inbound();
    let fields = ["*", "1", "a", other.as_str(), "nil", "json", "", "UnoccupiedField", "1"];
    scene.server.command(["XADD", inbound.as_str()].iter().chain(&fields)).await;
    let echo = scene.ours("echo shop:orders --wire js", &[]);
    let client = scene.client();
    let topic = client.topic(&scene.topic);
    assert_eq!(topic.request("next", &[7]).await.unwrap().payload, "[7]");
    assert_eq!(scene.entries(scene.topic.dead()).await.len(), 1);
    assert!(scene.entries(other).await.is_empty());
    assert_eq!(echo.terminate().await.status.code(), Some(0));
}
