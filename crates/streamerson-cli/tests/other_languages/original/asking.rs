//! Ours ask workers of the original.

use serde::{Deserialize, Serialize};
use streamerson::Call;
use streamerson_test::eventually;

use super::Scene;
use crate::gateway::requests;

#[derive(Serialize, Deserialize)]
struct Lookup {
    id: u64,
}

#[derive(Deserialize)]
struct Found {
    id: u64,
    by: String,
}

impl Call for Lookup {
    const TOPIC: &'static str = "shop:orders";
    const EVENT: &'static str = "order.get";
    type Reply = Found;
}

#[tokio::test]
async fn a_plain_worker_answers_clients_commands_and_gateways() {
    let scene = Scene::new().await;
    let worker = scene.original("worker", "").await;
    let client = scene.client();
    let found = client.topic(&scene.topic).call(Lookup { id: 7 }).await.unwrap();
    assert_eq!((found.id, &*found.by), (7, "original"));
    let request = scene.ours("request shop:orders order.get --wire js --timeout 60s", &[r#"{"id":8}"#]).wait().await;
    assert_eq!(request.stdout, "{\"id\":8,\"by\":\"original\"}\n", "{}", request.stderr);
    let gateway = scene.gateway().await;
    for by in gateway.ask(requests()).await {
        assert_eq!(by.as_deref(), Some("original"));
    }
    assert_eq!(scene.asked().await as u64, requests() + 2);
    assert_eq!(worker.terminate().await.status.code(), Some(0));
}

#[tokio::test]
async fn members_of_the_original_share_a_group_with_ours() {
    let scene = Scene::new().await;
    let members = [scene.original("member", "workers").await, scene.original("member", "workers").await];
    let echo = scene.ours("echo shop:orders --group workers --wire js", &[]);
    let gateway = scene.gateway().await;
    // Theirs take all that there is in each read, so ours must be there before.
    echo.stderr_line("echoing").await;
    let mut by = gateway.ask(requests()).await;
    by.sort();
    by.dedup();
    assert_eq!(by, [None, Some("original".to_owned())]);
    // Theirs ack after they have answered.
    eventually("no delivery pending", async || {
        let pending = scene.server.command(["XPENDING", scene.topic.inbound().as_str(), "workers"]).await;
        (pending.items()[0].int() == 0).then_some(())
    })
    .await;
    for process in members.into_iter().chain([echo]) {
        assert_eq!(process.terminate().await.status.code(), Some(0));
    }
}

/// What an HTTP request says beside its body comes as `messageHeaders`.
#[tokio::test]
async fn headers_are_theirs_to_read() {
    let scene = Scene::new().await;
    let worker = scene.original("worker", "").await;
    let arguments = "request shop:orders order.headers --wire js -H http.param.id:7 -H traceparent:00-1";
    let request = scene.ours(arguments, &["[1]"]).wait().await;
    assert!(request.stdout.contains(r#""payload":[1]"#), "{request:?}");
    assert!(request.stdout.contains(r#""http.param.id":"7""#), "{request:?}");
    assert!(request.stdout.contains(r#""traceparent":"00-1""#), "{request:?}");
    assert!(request.stdout.contains(r#""deadline":"#), "{request:?}");
    drop(worker);
}
