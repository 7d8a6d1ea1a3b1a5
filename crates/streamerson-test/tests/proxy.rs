//! Each fault of the proxy is seen by a client, and ends.

use std::io;
use std::time::{Duration, Instant};
use streamerson_test::{Direction, Proxy, RedisServer, RespClient, Value, eventually};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

/// Long enough that an answer which can come would have come.
const A_WHILE: Duration = Duration::from_millis(100);

async fn behind_proxy() -> (RedisServer, Proxy, RespClient) {
    let server = RedisServer::spawn().await;
    let proxy = Proxy::start(server.address()).await;
    let mut client = RespClient::connect(proxy.address()).await.expect("a connection");
    assert_eq!(ping(&mut client).await.expect("a reply").text(), "PONG");
    (server, proxy, client)
}

async fn ping(client: &mut RespClient) -> io::Result<Value> {
    client.command(["PING"]).await
}

#[tokio::test]
async fn a_cut_closes_open_connections_only() {
    let (_server, proxy, mut client) = behind_proxy().await;
    proxy.cut();
    timeout(Duration::from_secs(5), ping(&mut client)).await.expect("an end, not silence").unwrap_err();
    let mut client = RespClient::connect(proxy.address()).await.unwrap();
    assert_eq!(ping(&mut client).await.unwrap().text(), "PONG");
    assert_eq!(proxy.accepted(), 2);
}

#[tokio::test]
async fn refusing_spares_open_connections() {
    let (_server, proxy, mut client) = behind_proxy().await;
    proxy.refuse();
    // The kernel completes the handshake, so the refusal shows at the first use.
    let mut refused = RespClient::connect(proxy.address()).await.unwrap();
    timeout(Duration::from_secs(5), ping(&mut refused)).await.expect("an end, not silence").unwrap_err();
    assert_eq!(ping(&mut client).await.unwrap().text(), "PONG");
    proxy.restore();
    let mut served = RespClient::connect(proxy.address()).await.unwrap();
    assert_eq!(ping(&mut served).await.unwrap().text(), "PONG");
}

#[tokio::test]
async fn a_lost_reply_leaves_its_effect() {
    let (server, proxy, mut client) = behind_proxy().await;
    proxy.blackhole(Direction::ToClient);
    let lost = timeout(A_WHILE, client.command(["SET", "key", "value"])).await;
    assert!(lost.is_err(), "a reply came through: {lost:?}");
    eventually("the effect", async || (!server.command(["GET", "key"]).await.is_nil()).then_some(())).await;
}

#[tokio::test]
async fn a_held_request_arrives_after_the_outage() {
    let (server, proxy, mut client) = behind_proxy().await;
    proxy.blackhole(Direction::ToServer);
    let held = timeout(A_WHILE, client.command(["SET", "key", "value"])).await;
    assert!(held.is_err(), "a request came through: {held:?}");
    assert!(server.command(["GET", "key"]).await.is_nil());
    proxy.restore();
    eventually("the effect", async || (!server.command(["GET", "key"]).await.is_nil()).then_some(())).await;
}

#[tokio::test]
async fn a_delay_is_paid_both_ways() {
    let (_server, proxy, mut client) = behind_proxy().await;
    proxy.delay(Duration::from_millis(50));
    let started = Instant::now();
    assert_eq!(ping(&mut client).await.unwrap().text(), "PONG");
    assert!(started.elapsed() >= Duration::from_millis(100), "took {:?} only", started.elapsed());
}

#[tokio::test]
async fn a_half_close_ends_one_way() {
    let server = RedisServer::spawn().await;
    let proxy = Proxy::start(server.address()).await;
    let mut client = tokio::net::TcpStream::connect(proxy.address()).await.unwrap();
    proxy.wait_accepted(1).await;
    proxy.half_close(Direction::ToClient);
    let mut byte = [0];
    let read = timeout(Duration::from_secs(5), client.read(&mut byte)).await.expect("an end, not silence").unwrap();
    assert_eq!(read, 0);
}

#[tokio::test]
async fn a_redirection_concerns_new_connections() {
    let (first, proxy, mut open) = behind_proxy().await;
    let second = RedisServer::spawn().await;
    for (server, name) in [(&first, "first"), (&second, "second")] {
        server.command(["SET", "name", name]).await;
    }
    proxy.redirect(second.address());
    assert_eq!(open.command(["GET", "name"]).await.unwrap().text(), "first");
    let mut new = RespClient::connect(proxy.address()).await.unwrap();
    assert_eq!(new.command(["GET", "name"]).await.unwrap().text(), "second");
}
