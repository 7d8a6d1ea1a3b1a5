//! Servers that go, with their data or without, and groups and streams that go under their users.

use std::time::Duration;

use futures_util::{StreamExt, future::join};
use streamerson_core::{BrokerError, Client, Cursor, client::CallError};
use streamerson_test::{RedisServer, eventually};
use tokio::sync::watch;

use super::account::{Load, balance, broker, event, request, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_requests_survive_a_restart() {
    let mut server = RedisServer::builder().setting("appendonly", "yes").setting("appendfsync", "always").spawn().await;
    let broker = broker(&server.url()).await;
    let (mut load, gate) = (Load::new(&broker).await, watch::Sender::new(false));
    load.work(&broker, &gate).await;
    let client = Client::new(broker.clone());
    // As many as the member takes at once wait in it, the others in the stream.
    let restart = async {
        eventually("all wait", async || (client.pending() == 40).then_some(())).await;
        eventually("some are being handled", async || (load.handled.lock().unwrap().len() == 16).then_some(())).await;
        server.stop().await;
        server.start().await;
        gate.send_replace(true);
    };
    let (sent, ()) = join(load.send(&client, 60, 1, Duration::from_secs(20)), restart).await;
    assert!(sent.failed.is_empty(), "{:?}", sent.failed);
    assert_eq!((sent.answered.len(), sent.emitted.len()), (40, 20));
    let (appended, handled) = load.finish(&broker).await;
    balance(&sent, &appended, &handled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_the_server_has_lost_fail_and_new_ones_go_on() {
    let mut server = RedisServer::spawn().await;
    let broker = broker(&server.url()).await;
    let (mut load, gate) = (Load::new(&broker).await, watch::Sender::new(false));
    for _ in 0..2 {
        load.work(&broker, &gate).await;
    }
    let client = Client::new(broker.clone());
    let restart = async {
        eventually("all wait", async || (client.pending() == 40).then_some(())).await;
        eventually("some are being handled", async || (load.handled.lock().unwrap().len() >= 32).then_some(())).await;
        server.kill();
        server.start().await;
        gate.send_replace(true);
    };
    let (sent, ()) = join(load.send(&client, 60, 1, Duration::from_secs(3)), restart).await;
    for (id, error) in &sent.failed {
        assert!(matches!(error, CallError::TimedOut(_) | CallError::NoConsumers), "{id}: {error}");
    }
    assert_eq!(sent.failed.len() + sent.answered.len(), 40, "every request came to an end");
    load.audit(&broker).await;
    let again = load.send(&client, 20, 10, Duration::from_secs(5)).await;
    assert!(again.failed.is_empty(), "{:?}", again.failed);
    let (appended, handled) = load.finish(&broker).await;
    balance(&again, &appended, &handled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_deleted_under_load_skips_nothing() {
    let server = RedisServer::spawn().await;
    let broker = broker(&server.url()).await;
    let (mut load, gate) = (Load::new(&broker).await, watch::Sender::new(true));
    for _ in 0..3 {
        load.work(&broker, &gate).await;
    }
    let client = Client::new(broker.clone());
    let delete = async {
        for number in (0..3000).step_by(300) {
            load.progress(number).await;
            _ = broker.drop_group(&load.topic.inbound(), &load.group).await.unwrap();
        }
    };
    let (sent, ()) = join(load.send(&client, 30, 100, Duration::from_secs(10)), delete).await;
    assert!(sent.failed.is_empty(), "{:?}", sent.failed);
    let (appended, handled) = load.finish(&broker).await;
    balance(&sent, &appended, &handled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_flushed_under_load_loses_what_it_held_and_no_more() {
    let server = RedisServer::spawn().await;
    let broker = broker(&server.url()).await;
    let (mut load, gate) = (Load::new(&broker).await, watch::Sender::new(true));
    for _ in 0..3 {
        load.work(&broker, &gate).await;
    }
    let client = Client::new(broker.clone());
    let flush = async {
        for number in [500, 1000, 1500] {
            load.progress(number).await;
            server.command(["FLUSHALL"]).await;
        }
    };
    let (sent, ()) = join(load.send(&client, 30, 100, Duration::from_secs(2)), flush).await;
    for (id, error) in &sent.failed {
        assert!(matches!(error, CallError::TimedOut(_)), "{id}: {error}");
    }
    // What each task waited for at a flush, and once more until its inbox was made again.
    assert!(sent.failed.len() <= 3 * 2 * 30, "{} failed", sent.failed.len());
    load.audit(&broker).await;
    let again = load.send(&client, 20, 10, Duration::from_secs(5)).await;
    assert!(again.failed.is_empty(), "{:?}", again.failed);
    let (appended, handled) = load.finish(&broker).await;
    balance(&again, &appended, &handled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_work_fails_at_once_while_the_broker_is_down() {
    let mut server = RedisServer::spawn().await;
    let broker = broker(&server.url()).await;
    let (mut load, gate) = (Load::new(&broker).await, watch::Sender::new(true));
    load.work(&broker, &gate).await;
    let client = Client::new(broker.clone()).with_timeout(Duration::from_secs(60));
    client.request(&load.topic, request(Duration::from_secs(60))).await.unwrap();

    server.stop().await;
    broker.health().wait_for(|health| !health.is_up()).await.unwrap();
    let refused = soon("a request", client.request(&load.topic, request(Duration::from_secs(60)))).await;
    assert!(matches!(refused, Err(CallError::Broker(BrokerError::Unavailable { .. }))), "{refused:?}");
    let refused = soon("an event", client.emit(&load.topic, event())).await;
    assert!(matches!(refused, Err(CallError::Broker(BrokerError::Unavailable { .. }))), "{refused:?}");

    // An outage holds up nobody who wants to go.
    let mut leaving = broker.subscribe(load.topic.outbound(), Cursor::Start);
    leaving.control().end();
    assert!(soon("a subscription ends", leaving.next()).await.is_none());
    soon("a client closes", client.close()).await;

    server.start().await;
    let client = Client::new(broker.clone());
    eventually("it is back", async || client.request(&load.topic, request(Duration::from_secs(1))).await.ok()).await;
}
