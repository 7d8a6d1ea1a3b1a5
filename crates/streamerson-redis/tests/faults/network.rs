//! Connections that the server ends, and a network that is slow, silent or open on one side only.

use std::time::Duration;

use streamerson_test::{Direction, Proxy, RedisServer, Value};

use super::{
    account::{Load, balance, broker},
    steady::steady,
};

const TIMEOUT: Duration = Duration::from_secs(12);

#[tokio::test]
async fn connections_that_the_server_kills() {
    let server = RedisServer::spawn().await;
    let (load, client, sent) = steady(&server.url(), TIMEOUT, async |load, _| {
        for _ in 0..5 {
            let killed = server.command(["CLIENT", "KILL", "TYPE", "normal"]).await;
            assert!(matches!(killed, Value::Int(3..)), "{killed:?}");
            load.goes_on(50).await;
        }
    })
    .await;
    sent.failed_as_it_should(false);
    client.close().await;
    let (appended, handled) = load.finish(&broker(&server.url()).await).await;
    balance(&sent, &appended, &handled);
}

/// The load goes through the proxy, and nothing that goes wrong there costs more than time.
async fn through(fault: impl AsyncFnOnce(&Proxy, &Load)) {
    let server = RedisServer::spawn().await;
    let proxy = Proxy::start(server.address()).await;
    let url = server.url_through(proxy.address());
    let (load, client, sent) = steady(&url, TIMEOUT, async |load, _| fault(&proxy, load).await).await;
    sent.failed_as_it_should(false);
    client.close().await;
    let (appended, handled) = load.finish(&broker(&server.url()).await).await;
    balance(&sent, &appended, &handled);
}

#[tokio::test]
async fn a_slow_network() {
    through(async |proxy, load| {
        proxy.delay(Duration::from_millis(40));
        load.goes_on(100).await;
        proxy.cut();
        load.goes_on(100).await;
        proxy.restore();
    })
    .await;
}

#[tokio::test]
async fn connections_closed_on_one_side() {
    through(async |proxy, load| {
        for direction in [Direction::ToServer, Direction::ToClient, Direction::ToServer] {
            proxy.half_close(direction);
            load.goes_on(50).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_network_that_swallows_what_is_sent() {
    for direction in [Direction::ToServer, Direction::ToClient] {
        through(async |proxy, _| {
            proxy.blackhole(direction);
            // Longer than an answer may take, so that connections are given up while nothing tells that they are over.
            tokio::time::sleep(Duration::from_secs(3)).await;
            proxy.restore();
        })
        .await;
    }
}
