//! What becomes of calls over TLS while the network or the server fails.

use std::{sync::Arc, time::Duration};

use streamerson_core::{
    BrokerError, EntryId, Fields, Topic,
    broker::{Append, Broker, Range},
};
use streamerson_redis::RedisBroker;
use streamerson_test::{Direction, Proxy, RedisServer, eventually};

use crate::server::{config, spawn};

fn fields(text: impl Into<String>) -> Fields {
    let mut fields = Fields::default();
    fields.push("p", text.into());
    fields
}

async fn behind_a_proxy() -> (RedisServer, Proxy, RedisBroker, Topic) {
    let (server, address) = spawn(|builder| builder).await;
    let proxy = Proxy::start(address).await;
    let config = config(proxy.address())
        .response_timeout(Duration::from_secs(30))
        .reconnect_delay_max(Duration::from_millis(20));
    let broker = RedisBroker::connect_with(config).await.expect("a broker");
    (server, proxy, broker, Topic::new("outages").expect("a topic"))
}

#[tokio::test]
async fn large_payloads_go_both_ways() {
    let (_server, _proxy, broker, topic) = behind_a_proxy().await;
    let broker = Arc::new(broker);
    // More than the buffers of TLS and of the socket hold, several at once.
    let appends = (0..4).map(|number| {
        let (broker, key) = (broker.clone(), topic.inbound());
        tokio::spawn(async move {
            let large = fields(number.to_string().repeat(8 * 1024 * 1024));
            let id = broker.append(vec![Append::new(key.clone(), large.clone())]).await.remove(0).unwrap().id.unwrap();
            let one = Range { key, from: id, to: id, count: 1, newest_first: false };
            assert!(broker.range(one).await.unwrap()[0].fields == large, "the payload is another");
        })
    });
    for append in appends.collect::<Vec<_>>() {
        append.await.unwrap();
    }
    assert_eq!(broker.epoch(), 1);
}

#[tokio::test]
async fn an_append_without_an_answer_may_have_been_done() {
    let (server, proxy, broker, topic) = behind_a_proxy().await;
    let key = topic.inbound();
    proxy.blackhole(Direction::ToClient);
    let append = broker.append(vec![Append::new(key.clone(), fields("once"))]);
    let cut = async {
        eventually("the entry is there", async || {
            (server.command(["XLEN", key.as_str()]).await.int() == 1).then_some(())
        })
        .await;
        proxy.cut();
    };
    let (mut answers, ()) = tokio::join!(append, cut);
    proxy.restore();
    let answer = answers.remove(0);
    assert!(matches!(answer, Err(BrokerError::Interrupted { .. })), "{answer:?}");
    let next = broker.append(vec![Append::new(key.clone(), fields("next"))]).await.remove(0).unwrap();
    assert_eq!(next.epoch, 2);
}

#[tokio::test]
async fn a_server_that_was_away_is_found_again_by_all() {
    let (mut server, _proxy, broker, topic) = behind_a_proxy().await;
    let cursors = [(topic.inbound(), EntryId::ZERO)];
    let mut reader = broker.reader();
    assert_eq!(reader.read(&cursors, 1, Duration::ZERO).await.unwrap(), []);
    server.kill();
    broker.health().wait_for(|health| !health.is_up()).await.unwrap();
    let error = reader.read(&cursors, 1, Duration::from_secs(30)).await.unwrap_err();
    // In the words of a connection without TLS.
    assert!(error.is_transient() && !error.to_string().contains("close_notify"), "{error}");
    server.start().await;
    broker.health().wait_for(|health| health.is_up()).await.unwrap();
    broker.append(vec![Append::new(topic.inbound(), fields("back"))]).await.remove(0).unwrap();
    assert_eq!(reader.read(&cursors, 1, Duration::from_secs(30)).await.unwrap()[0].entries.len(), 1);
}
