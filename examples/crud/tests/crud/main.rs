//! The example as its README runs it, over HTTP, and what it promises.

mod http;
mod once;
mod scene;

use serde_json::json;
use streamerson_test::RedisServer;

use crate::scene::{Scene, crud, dune};

#[tokio::test]
async fn all_in_one_process() {
    let scene = Scene::in_one_process().await;
    let created = scene.post("/books", &dune()).await;
    assert_eq!((created.status, created.header("location")), (201, Some("/books/1")));
    assert_eq!(created.json()["title"], "Dune");

    let read = scene.get("/books/1").await;
    assert_eq!((read.status, read.header("etag")), (200, Some("\"1\"")));
    assert_eq!(read.json(), created.json());

    let mut changed = dune();
    changed["title"] = json!("Dune Messiah");
    let updated = scene.put("/books/1", &[], &changed).await;
    assert_eq!((updated.status, updated.header("etag")), (200, Some("\"2\"")));
    assert_eq!(scene.get("/books/1").await.json()["title"], "Dune Messiah");

    let deleted = scene.delete("/books/1", &[]).await;
    assert_eq!((deleted.status, &*deleted.body), (204, ""));
    assert_eq!(scene.get("/books/1").await.status, 404);
    assert_eq!(scene.delete("/books/1", &[]).await.status, 404);
    // An id is never used again.
    assert_eq!(scene.post("/books", &dune()).await.header("location"), Some("/books/2"));
    scene.stop().await;
}

#[tokio::test]
async fn what_cannot_be_is_a_problem_document() {
    let scene = Scene::in_one_process().await;
    assert_eq!(scene.post("/books", &dune()).await.status, 201);

    let conflict = scene.post("/books", &dune()).await;
    assert_eq!(conflict.status, 409);
    assert_eq!(conflict.header("content-type"), Some("application/problem+json"));
    assert_eq!(conflict.json()["title"], "Conflict");
    assert!(conflict.json()["detail"].as_str().is_some_and(|detail| detail.contains("978-0441013593")), "{conflict:?}");

    let mut other = dune();
    other["isbn"] = json!("2");
    assert_eq!(scene.post("/books", &other).await.status, 201);
    assert_eq!(scene.put("/books/2", &[], &dune()).await.status, 409);
    assert_eq!(scene.get("/books/2").await.json()["isbn"], "2");
    assert_eq!(scene.put("/books/9", &[], &dune()).await.status, 404);

    // The contract is checked at the edge.
    assert_eq!(scene.send("POST", "/books", &["content-type: application/json"], "{").await.status, 400);
    assert_eq!(scene.send("POST", "/books", &["content-type: text/plain"], "Dune").await.status, 415);
    assert_eq!(scene.post("/books", &json!({"title": "Dune"})).await.status, 422);
    // And what has no contract, by the worker's extractors; what types do not say, by its handlers.
    assert_eq!(scene.put("/books/1", &[], &json!({"title": "Dune"})).await.status, 422);
    assert_eq!(scene.get("/books/dune").await.status, 400);
    for field in ["isbn", "title", "author"] {
        for text in ["", "  ", &"x".repeat(201)] {
            let mut bad = dune();
            bad[field] = json!(text);
            let refused = scene.post("/books", &bad).await;
            assert_eq!(refused.status, 422);
            assert!(refused.json()["detail"].as_str().is_some_and(|detail| detail.starts_with(field)), "{refused:?}");
        }
    }
    assert_eq!(scene.send("PATCH", "/books/1", &[], "").await.status, 405);
    scene.stop().await;
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let scene = Scene::in_one_process().await;
    assert_eq!(scene.get("/books").await.json(), json!({"books": []}));
    for number in 1..=5 {
        let mut book = dune();
        book["isbn"] = json!(number.to_string());
        assert_eq!(scene.post("/books", &book).await.status, 201);
    }
    assert_eq!(scene.delete("/books/2", &[]).await.status, 204);
    let (mut next, mut pages) = (Some("/books?limit=2".to_owned()), Vec::new());
    while let Some(path) = next {
        let page = scene.get(&path).await.json();
        let ids = page["books"].as_array().expect("books").iter().map(|book| book["id"].as_i64().expect("an id"));
        pages.push(ids.collect::<Vec<_>>());
        next = page["next"].as_str().map(str::to_owned);
    }
    assert_eq!(pages, [vec![1, 3], vec![4, 5]]);
    for query in ["limit=0", "limit=101", "limit=two", "page=2"] {
        assert_eq!(scene.get(&format!("/books?{query}")).await.status, 400, "{query}");
    }
    scene.stop().await;
}

#[tokio::test]
async fn nobody_overwrites_what_they_have_not_seen() {
    let scene = Scene::in_one_process().await;
    assert_eq!(scene.post("/books", &dune()).await.header("etag"), Some("\"1\""));
    let first = ["if-match: \"1\""];
    assert_eq!(scene.put("/books/1", &first, &dune()).await.header("etag"), Some("\"2\""));
    assert_eq!(scene.put("/books/1", &first, &dune()).await.status, 412);
    assert_eq!(scene.delete("/books/1", &first).await.status, 412);
    assert_eq!(scene.delete("/books/1", &["if-match: \"2\""]).await.status, 204);
    scene.stop().await;
}

#[tokio::test]
async fn each_part_in_a_process_of_its_own_and_the_books_outlive_their_worker() {
    let server = RedisServer::spawn().await;
    let scene = Scene::over(&server).await;
    let first = scene.worker(&server);
    assert_eq!(scene.post("/books", &dune()).await.status, 201);
    assert!(first.terminate().await.status.success());
    // Two may share the file.
    let others = [scene.worker(&server), scene.worker(&server)];
    assert_eq!(scene.get("/books/1").await.json()["title"], "Dune");
    assert_eq!(scene.post("/books", &dune()).await.status, 409);
    for worker in others {
        assert!(worker.terminate().await.status.success());
    }
    scene.stop().await;
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let alone = crud("worker").wait().await;
    assert!(!alone.status.success() && alone.stderr.contains("--broker"), "{}", alone.stderr);
    let nowhere = crud("--listen 127.0.0.1:0 --database /no/such/directory/books.sqlite").wait().await;
    assert!(!nowhere.status.success() && nowhere.stderr.contains("/no/such/directory"), "{}", nowhere.stderr);
}
