//! A server that is away, that refuses, or whose place another takes, under a steady load.

use std::time::Duration;

use streamerson_core::{BrokerError, client::CallError};
use streamerson_test::{Proxy, RedisServer, RedisServerBuilder, Value, eventually};

use super::{
    account::{Sent, balance, broker},
    steady::steady,
};

const TIMEOUT: Duration = Duration::from_secs(12);
/// Long enough for every loop to meet a refusal more than once.
const REFUSED_FOR: Duration = Duration::from_millis(1500);

fn durable() -> RedisServerBuilder {
    RedisServer::builder().setting("appendonly", "yes").setting("appendfsync", "always")
}

/// A crash, and a start with all the data.
async fn is_away(outage: Duration, timeout: Duration) -> Sent {
    let mut server = durable().spawn().await;
    let (load, client, sent) = steady(&server.url(), timeout, async |load, client| {
        server.kill();
        load.fails(client, 10).await;
        tokio::time::sleep(outage).await;
        server.start().await;
    })
    .await;
    client.close().await;
    let (appended, handled) = load.finish(&broker(&server.url()).await).await;
    balance(&sent, &appended, &handled);
    sent
}

#[tokio::test]
async fn away_for_a_second() {
    is_away(Duration::from_secs(1), TIMEOUT).await.failed_as_it_should(false);
}

#[tokio::test]
async fn away_for_longer_than_leases_and_deadlines() {
    is_away(Duration::from_secs(6), Duration::from_secs(3)).await.failed_as_it_should(true);
}

#[tokio::test]
#[ignore = "it takes more than a minute; cargo xtask faults runs it"]
async fn away_for_a_minute() {
    is_away(Duration::from_secs(60), Duration::from_secs(5)).await.failed_as_it_should(true);
}

/// Refuses every write for a while, with an error of this code, and loses nothing by it.
async fn refuses(code: &str, refuse: &[&str], accept: &[&str]) {
    let server = RedisServer::spawn().await;
    let (load, client, sent) = steady(&server.url(), TIMEOUT, async |load, client| {
        assert!(matches!(server.command(refuse).await, Value::Status(_)), "{refuse:?}");
        load.fails(client, 10).await;
        tokio::time::sleep(REFUSED_FOR).await;
        server.command(accept).await;
    })
    .await;
    sent.failed_as_it_should(false);
    let says_so = |error: &CallError| match error {
        CallError::Broker(BrokerError::Refused { code: said, .. }) => **said == *code,
        _ => false,
    };
    assert!(sent.failed.iter().any(|(_, error)| says_so(error)), "nobody is told of {code}");
    client.close().await;
    let (appended, handled) = load.finish(&broker(&server.url()).await).await;
    balance(&sent, &appended, &handled);
}

#[tokio::test]
async fn out_of_memory() {
    refuses("OOM", &["CONFIG", "SET", "maxmemory", "1"], &["CONFIG", "SET", "maxmemory", "0"]).await;
}

#[tokio::test]
async fn without_the_replicas_that_it_needs() {
    let replicas = |count| ["CONFIG", "SET", "min-replicas-to-write", count];
    refuses("NOREPLICAS", &replicas("1"), &replicas("0")).await;
}

#[tokio::test]
async fn read_only_for_a_while() {
    refuses("READONLY", &["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"]).await;
}

#[tokio::test]
async fn loading() {
    // So many keys, each loaded so slowly, that it takes some two seconds.
    let slow = RedisServer::builder()
        .setting("save", "3600 1")
        .setting("key-load-delay", "1000")
        .setting("loading-process-events-interval-bytes", "1024");
    let mut server = slow.spawn().await;
    let fill = "for i = 1, 2000 do redis.call('SET', 'filler:' .. i, i) end";
    assert!(!matches!(server.command(["EVAL", fill, "0"]).await, Value::Error(_)));
    let (load, client, sent) = steady(&server.url(), TIMEOUT, async |load, client| {
        server.stop().await;
        let address = server.address();
        let watch = async {
            eventually("it is loading", async || {
                let mut client = streamerson_test::RespClient::connect(address).await.ok()?;
                let answer = client.command(["GET", "filler:1"]).await.ok()?;
                matches!(answer, Value::Error(message) if message.starts_with("LOADING")).then_some(())
            })
            .await;
            load.fails(client, 10).await;
        };
        tokio::join!(server.start(), watch);
    })
    .await;
    sent.failed_as_it_should(false);
    client.close().await;
    let (appended, handled) = load.finish(&broker(&server.url()).await).await;
    balance(&sent, &appended, &handled);
}

/// A primary and a replica that has all of it.
async fn pair() -> (RedisServer, RedisServer) {
    let (primary, replica) = (durable().spawn().await, durable().spawn().await);
    let port = primary.address().port().to_string();
    replica.command(["REPLICAOF", "127.0.0.1", &port]).await;
    eventually("the replica follows", async || {
        let Value::Bulk(info) = replica.command(["INFO", "replication"]).await else { return None };
        String::from_utf8_lossy(&info).contains("master_link_status:up").then_some(())
    })
    .await;
    (primary, replica)
}

async fn is_primary(server: &RedisServer) {
    eventually("it is the primary", async || {
        let Value::Bulk(info) = server.command(["INFO", "replication"]).await else { return None };
        String::from_utf8_lossy(&info).contains("role:master").then_some(())
    })
    .await;
}

#[tokio::test]
async fn failed_over_by_an_operator() {
    let (mut primary, replica) = pair().await;
    let proxy = Proxy::start(primary.address()).await;
    let url = primary.url_through(proxy.address());
    let (load, client, sent) = steady(&url, TIMEOUT, async |load, _| {
        // Connections stay where they are, so it is the servers' answers that tell.
        proxy.redirect(replica.address());
        let port = replica.address().port().to_string();
        let started = primary.command(["FAILOVER", "TO", "127.0.0.1", &port, "TIMEOUT", "10000"]).await;
        assert!(matches!(started, Value::Status(_)), "{started:?}");
        is_primary(&replica).await;
        load.goes_on(100).await;
        // It would answer reads for as long as it follows the new primary, and then hold them up.
        eventually("nobody stays with the old primary", async || {
            let Value::Bulk(clients) = primary.command(["CLIENT", "LIST", "TYPE", "normal"]).await else { return None };
            (!String::from_utf8_lossy(&clients).contains("name=streamerson")).then_some(())
        })
        .await;
        primary.kill();
    })
    .await;
    sent.failed_as_it_should(false);
    client.close().await;
    let (appended, handled) = load.finish(&broker(&replica.url()).await).await;
    balance(&sent, &appended, &handled);
}

/// What had not reached the replica is lost, so only what comes after is accounted for.
#[tokio::test]
async fn failed_over_after_a_crash() {
    let (mut primary, replica) = pair().await;
    let proxy = Proxy::start(primary.address()).await;
    let url = primary.url_through(proxy.address());
    let (load, client, sent) = steady(&url, Duration::from_secs(3), async |load, client| {
        primary.kill();
        load.fails(client, 10).await;
        replica.command(["REPLICAOF", "NO", "ONE"]).await;
        is_primary(&replica).await;
        proxy.redirect(replica.address());
    })
    .await;
    sent.failed_as_it_should(true);
    let again = load.send(&client, 8, 50, TIMEOUT).await;
    assert!(again.failed.is_empty(), "{:?}", again.failed);
    client.close().await;
    let (appended, handled) = load.finish(&broker(&replica.url()).await).await;
    for (id, times) in &appended {
        assert_eq!(*times, 1, "{id} was appended more than once");
    }
    for id in again.answered.iter().chain(&again.emitted) {
        assert!(
            appended.contains_key(id) && handled.contains_key(id),
            "{id} was confirmed after the failover and is lost"
        );
    }
}
