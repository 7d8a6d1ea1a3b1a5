//! The server helper does what the other tests rely on.

use std::time::Duration;
use streamerson_test::{RedisServer, Value, eventually};
use tokio::time::timeout;

#[tokio::test]
async fn answers_commands() {
    let server = RedisServer::spawn().await;
    assert_eq!(server.command(["SET", "key", "value"]).await, Value::Status("OK".into()));
    assert_eq!(server.command([b"GET".as_slice(), b"key"]).await.bytes(), b"value");
    assert!(server.command(["GET", "missing"]).await.is_nil());
    assert_eq!(server.command(["LPUSH", "list", "a", "b"]).await.int(), 2);
    let list = server.command(["LRANGE", "list", "0", "-1"]).await;
    assert_eq!(list.items().iter().map(Value::text).collect::<Vec<_>>(), ["b", "a"]);
    assert!(matches!(server.command(["XLEN", "list"]).await, Value::Error(error) if error.starts_with("WRONGTYPE")));
}

#[tokio::test]
async fn a_crash_forgets_and_keeps_the_port() {
    let mut server = RedisServer::spawn().await;
    let url = server.url();
    server.command(["SET", "key", "value"]).await;
    server.kill();
    server.start().await;
    assert_eq!(server.url(), url);
    assert!(server.command(["GET", "key"]).await.is_nil());
}

#[tokio::test]
async fn a_crash_with_an_append_only_file_keeps_the_data() {
    let mut server = RedisServer::builder().setting("appendonly", "yes").setting("appendfsync", "always").spawn().await;
    server.command(["SET", "key", "value"]).await;
    server.kill();
    server.start().await;
    assert_eq!(server.command(["GET", "key"]).await.text(), "value");
    server.stop().await;
    server.start().await;
    assert_eq!(server.command(["GET", "key"]).await.text(), "value");
}

#[tokio::test]
async fn a_frozen_server_answers_after_the_thaw() {
    let server = RedisServer::spawn().await;
    let mut client = server.client().await;
    server.pause();
    let early = timeout(Duration::from_millis(100), client.command(["PING"])).await;
    assert!(early.is_err(), "a frozen server answered {early:?}");
    server.resume();
    assert_eq!(server.command(["PING"]).await.text(), "PONG");
}

#[tokio::test]
async fn a_password_is_asked_for() {
    let server = RedisServer::builder().password("secret").spawn().await;
    assert_eq!(server.command(["PING"]).await.text(), "PONG");
    assert_eq!(server.url(), format!("redis://:secret@{}", server.address()));
    let mut stranger = streamerson_test::RespClient::connect(server.address()).await.unwrap();
    assert!(matches!(stranger.command(["PING"]).await.unwrap(), Value::Error(error) if error.starts_with("NOAUTH")));
}

#[tokio::test]
async fn nothing_is_left_behind() {
    let server = RedisServer::spawn().await;
    let (address, directory) = (server.address(), server.directory().to_owned());
    assert!(directory.exists());
    drop(server);
    assert!(!directory.exists());
    eventually("the port to close", async || tokio::net::TcpStream::connect(address).await.is_err().then_some(()))
        .await;
}
