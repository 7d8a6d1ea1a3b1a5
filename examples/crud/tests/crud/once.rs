//! Messages come at least once; what they change, they change once.

use futures_util::{StreamExt, stream};
use http::StatusCode;
use serde_json::{Value, json};
use streamerson::{
    Client, Reply, Topic,
    core::{EventType, MessageId, client::Request},
};
use streamerson_test::{RedisServer, eventually};

use crate::scene::{Scene, dune};

/// Sends a message with this id, from a client that knows nothing of what others have sent.
async fn ask(client: &Client, id: MessageId, event: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
    let mut request = Request::new(EventType::new(event).expect("an event type"), body.to_string());
    request.id = id;
    for (name, value) in headers {
        request.headers.set(name, *value);
    }
    client.request(&Topic::new("books").expect("a topic"), request).await.expect("a reply")
}

async fn client(server: &RedisServer) -> Client {
    let broker = streamerson::connect(&server.url()).await.expect("a server that answers");
    Client::new(broker).with_timeout(std::time::Duration::from_secs(60))
}

#[tokio::test]
async fn a_message_that_comes_twice_is_answered_twice_and_done_once() {
    let server = RedisServer::spawn().await;
    let scene = Scene::over(&server).await;
    let worker = scene.worker(&server);
    let client = client(&server).await;
    let twice = async |event, headers: &[(&str, &str)], body: &Value| {
        let id = MessageId::unique();
        let first = ask(&client, id.clone(), event, headers, body).await;
        let second = ask(&client, id, event, headers, body).await;
        assert_eq!((first.status, &first.payload), (second.status, &second.payload));
        first.status_or_ok()
    };
    // Done again, each would be refused: 409, 412, 404.
    assert_eq!(twice("book.create", &[], &dune()).await, StatusCode::CREATED);
    let first_version = [("http.param.id", "1"), ("http.header.if-match", "\"1\"")];
    assert_eq!(twice("book.update", &first_version, &dune()).await, StatusCode::OK);
    assert_eq!(scene.get("/books/1").await.header("etag"), Some("\"2\""));
    twice("book.delete", &first_version[..1], &Value::Null).await;
    assert_eq!(scene.get("/books").await.json(), json!({"books": []}));
    assert!(worker.terminate().await.status.success());
    scene.stop().await;
}

#[tokio::test]
async fn workers_that_are_killed_lose_nothing_and_double_nothing() {
    const BOOKS: usize = 400;
    let server = RedisServer::spawn().await;
    let scene = Scene::over(&server).await;
    let client = client(&server).await;
    let create = async |number: usize| {
        let mut book = dune();
        book["isbn"] = json!(number.to_string());
        ask(&client, MessageId::unique(), "book.create", &[], &book).await.status_or_ok()
    };
    let creating = stream::iter(0..BOOKS).map(create).buffer_unordered(64).collect::<Vec<_>>();
    let killing = async {
        for books in [100, 200, 300] {
            let worker = scene.worker(&server);
            eventually("books", async || {
                let last = scene.get(&format!("/books?limit=1&after={books}")).await;
                (last.status == 200 && last.json()["books"] != json!([])).then_some(())
            })
            .await;
            worker.kill().await;
        }
        scene.worker(&server)
    };
    let (statuses, last) = tokio::join!(creating, killing);
    // A book that was stored by a message whose answer was lost, and then again, would be a 409.
    assert!(statuses.iter().all(|status| *status == StatusCode::CREATED), "{statuses:?}");
    let mut isbns = Vec::new();
    let mut next = Some("/books?limit=100".to_owned());
    while let Some(path) = next {
        let page = scene.get(&path).await.json();
        isbns.extend(page["books"].as_array().expect("books").iter().map(|book| book["isbn"].to_string()));
        next = page["next"].as_str().map(str::to_owned);
    }
    isbns.sort();
    isbns.dedup();
    assert_eq!(isbns.len(), BOOKS);
    assert!(last.terminate().await.status.success());
    scene.stop().await;
}
