//! What a process says that cannot start.

use streamerson_test::RedisServer;
use tokio::net::TcpListener;

use crate::fleet::hello;

/// What it says before it ends as failed.
async fn complaint(arguments: &str) -> String {
    let finished = hello(arguments).wait().await;
    assert_eq!(finished.status.code(), Some(1), "{arguments}: {}", finished.stderr);
    assert!(finished.stderr.lines().any(|line| line.starts_with("error: ")), "{}", finished.stderr);
    finished.stderr
}

#[tokio::test]
async fn without_a_broker() {
    // A port that nobody else gets, and where nobody listens.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    drop(listener);
    for role in ["worker", "gateway"] {
        let said = complaint(&format!("{role} --broker redis://:hunter2@{address}")).await;
        assert!(said.contains(&address.to_string()) && said.contains("cannot be reached"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[tokio::test]
async fn with_a_wrong_password() {
    let server = RedisServer::builder().password("right").spawn().await;
    for role in ["worker", "gateway"] {
        let said = complaint(&format!("{role} --broker redis://:hunter2@{}", server.address())).await;
        assert!(said.contains("refuses the login") && said.contains("WRONGPASS"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    let said = complaint(&format!("worker --broker redis://{}", server.address())).await;
    assert!(said.contains("NOAUTH"), "{said}");
}

#[tokio::test]
async fn with_an_address_that_is_none() {
    for (url, reason) in [
        ("http://localhost", "http"),
        ("localhost:6379", "redis://"),
        ("redis://:hunter2@localhost:port", "port"),
        ("redis://:hunter2@localhost/first", "the database is not a number"),
    ] {
        let said = complaint(&format!("worker --broker {url}")).await;
        assert!(said.contains(reason) && !said.contains("hunter2"), "{url}: {said}");
    }
}

#[tokio::test]
async fn where_another_process_listens() {
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = taken.local_addr().expect("a bound address").to_string();
    let said = complaint(&format!("--listen {address}")).await;
    assert!(said.contains(&address), "{said}");
}

#[tokio::test]
async fn where_the_key_holds_something_else() {
    let server = RedisServer::spawn().await;
    server.command(["SET", crate::fleet::INBOUND, "a string"]).await;
    let said = complaint(&format!("worker --broker {}", server.url())).await;
    assert!(said.contains(crate::fleet::INBOUND) && said.contains("does not hold a stream"), "{said}");
}
