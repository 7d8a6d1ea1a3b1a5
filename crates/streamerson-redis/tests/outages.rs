//! What becomes of calls while the network or the server fails.

use std::{sync::Arc, time::Duration};

use streamerson_core::{
    BrokerError, Client, EntryId, EventType, Fields, Message, Name, SharedBroker, Topic,
    broker::{Append, Broker, Fence, GroupStart, Membership, Range, ReplyAppend, Settlement},
    client::{CallError, Request},
};
use streamerson_redis::{RedisBroker, RedisConfig};
use streamerson_test::{Direction, Proxy, RedisServer, eventually};

const BLOCK: Duration = Duration::from_secs(30);

fn config(url: &str) -> RedisConfig {
    RedisConfig::new(url.parse().expect("a URL"))
        .response_timeout(Duration::from_secs(30))
        .reconnect_delay_max(Duration::from_millis(20))
}

fn fields(text: &str) -> Fields {
    let mut fields = Fields::default();
    fields.push("p", text.to_owned());
    fields
}

async fn behind_a_proxy() -> (RedisServer, Proxy, RedisBroker, Topic) {
    let server = RedisServer::spawn().await;
    let proxy = Proxy::start(server.address()).await;
    let broker = RedisBroker::connect_with(config(&server.url_through(proxy.address()))).await.expect("a broker");
    (server, proxy, broker, Topic::new("outages").expect("a topic"))
}

/// Until the server holds so many entries.
async fn holds(server: &RedisServer, key: &str, count: i64) {
    eventually("the entry is there", async || (server.command(["XLEN", key]).await.int() == count).then_some(())).await;
}

#[tokio::test]
async fn an_append_without_an_answer_may_have_been_done() {
    let (server, proxy, broker, topic) = behind_a_proxy().await;
    let key = topic.inbound();
    proxy.blackhole(Direction::ToClient);
    let append = broker.append(vec![Append::new(key.clone(), fields("once"))]);
    let cut = async {
        holds(&server, key.as_str(), 1).await;
        proxy.cut();
    };
    let (mut answers, ()) = tokio::join!(append, cut);
    proxy.restore();
    let answer = answers.remove(0);
    assert!(matches!(answer, Err(BrokerError::Interrupted { .. })), "{answer:?}");
    // And the next one goes out on a new connection, once.
    let epoch = broker.append(vec![Append::new(key.clone(), fields("next"))]).await.remove(0).unwrap().epoch;
    assert_eq!((epoch, broker.epoch()), (2, 2));
    holds(&server, key.as_str(), 2).await;
}

#[tokio::test]
async fn a_settlement_of_unknown_fate_can_be_sent_again() {
    let (server, proxy, broker, topic) = behind_a_proxy().await;
    let (key, inbox) = (topic.inbound(), topic.inbox(&Name::unique()));
    let membership = Membership::new(key.clone(), Name::unique());
    broker.create_group(&key, &membership.group, GroupStart::After(EntryId::ZERO)).await.unwrap();
    broker.append(vec![Append::new(inbox.clone(), fields("made")), Append::new(key.clone(), fields("ask"))]).await;
    let id = broker.group_reader(&membership).read(1, BLOCK).await.unwrap()[0].entry.id;
    let reply = Some(ReplyAppend { key: inbox.clone(), fields: fields("answer") });
    let batch = [Settlement { reply, ..Settlement::done(id) }];

    proxy.blackhole(Direction::ToClient);
    let settle = broker.settle(&membership, &batch, Fence::Renewed);
    let cut = async {
        holds(&server, inbox.as_str(), 2).await;
        proxy.cut();
    };
    let (answer, ()) = tokio::join!(settle, cut);
    proxy.restore();
    assert!(matches!(answer, Err(BrokerError::Interrupted { .. })), "{answer:?}");
    assert_eq!(broker.settle(&membership, &batch, Fence::Check).await.unwrap().lost, [id]);
    holds(&server, inbox.as_str(), 2).await;
}

#[tokio::test]
async fn a_read_that_is_cut_off_can_be_made_again() {
    let (_server, proxy, broker, topic) = behind_a_proxy().await;
    let cursors = [(topic.inbound(), EntryId::ZERO)];
    let mut reader = broker.reader();
    let cut = async {
        proxy.wait_accepted(2).await;
        proxy.cut();
    };
    let (answer, ()) = tokio::join!(reader.read(&cursors, 10, BLOCK), cut);
    assert!(matches!(answer, Err(BrokerError::Unavailable { .. })), "{answer:?}");
    let append = broker.append(vec![Append::new(topic.inbound(), fields("here"))]);
    let (found, _) = tokio::join!(reader.read(&cursors, 10, BLOCK), append);
    assert_eq!(found.unwrap()[0].entries.len(), 1);
}

#[tokio::test]
async fn a_read_can_be_woken_while_the_shared_connection_is_away() {
    let (mut server, _proxy, broker, topic) = behind_a_proxy().await;
    let cursors = [(topic.inbound(), EntryId::ZERO)];
    let mut reader = broker.reader();
    let waker = reader.waker();
    assert_eq!(reader.read(&cursors, 10, Duration::ZERO).await.unwrap(), []);
    // The reader's own connection goes as well, but whichever of the two is noticed first, the read ends.
    server.kill();
    broker.health().wait_for(|health| !health.is_up()).await.unwrap();
    let read = reader.read(&cursors, 10, BLOCK);
    let (answer, ()) = tokio::join!(read, async { waker.wake() });
    assert!(matches!(&answer, Ok(found) if found.is_empty()) || answer.is_err(), "{answer:?}");
}

#[tokio::test]
async fn a_group_read_without_an_answer_ends_in_time() {
    let server = RedisServer::spawn().await;
    let config = config(&server.url()).block_margin(Duration::from_secs(1));
    let broker = RedisBroker::connect_with(config).await.unwrap();
    let membership = Membership::new(Topic::new("frozen").unwrap().inbound(), Name::unique());
    broker.create_group(&membership.key, &membership.group, GroupStart::End).await.unwrap();
    let mut reader = broker.group_reader(&membership);
    assert_eq!(reader.read(1, Duration::from_millis(1)).await.unwrap(), []);
    server.pause();
    let answer = reader.read(1, Duration::from_millis(1)).await;
    assert!(matches!(answer, Err(BrokerError::Interrupted { .. })), "{answer:?}");
    server.resume();
    assert_eq!(reader.read(1, Duration::from_millis(1)).await.unwrap(), []);
}

#[tokio::test]
async fn a_server_that_becomes_a_replica_is_left() {
    let server = RedisServer::spawn().await;
    let broker = RedisBroker::connect_with(config(&server.url())).await.unwrap();
    let key = Topic::new("failover").unwrap().inbound();
    server.command(["REPLICAOF", "127.0.0.1", "1"]).await;
    let answer = broker.append(vec![Append::new(key.clone(), fields("refused"))]).await.remove(0);
    let Err(error @ BrokerError::Refused { .. }) = answer else { panic!("{answer:?}") };
    assert!(error.is_transient() && error.to_string().contains("READONLY"), "{error}");
    server.command(["REPLICAOF", "NO", "ONE"]).await;
    let appended = broker.append(vec![Append::new(key.clone(), fields("taken"))]).await.remove(0).unwrap();
    assert_eq!(appended.epoch, 2);
}

#[tokio::test]
async fn calls_of_many_tasks_survive_cuts_without_mixing_up_answers() {
    let (server, proxy, broker, topic) = behind_a_proxy().await;
    let (broker, key) = (Arc::new(broker), topic.inbound());
    let writers = (0..16).map(|writer| {
        let (broker, key) = (broker.clone(), key.clone());
        tokio::spawn(async move {
            let mut confirmed = Vec::new();
            for turn in 0..100 {
                let text = format!("{writer}-{turn}");
                if let Ok(appended) = broker.append(vec![Append::new(key.clone(), fields(&text))]).await.remove(0) {
                    confirmed.push((appended.id.unwrap(), text));
                }
            }
            confirmed
        })
    });
    let writers: Vec<_> = writers.collect();
    for count in [100, 300, 500] {
        let reached = async || (server.command(["XLEN", key.as_str()]).await.int() >= count).then_some(());
        eventually("the writers go on", reached).await;
        proxy.cut();
    }
    for writer in writers {
        for (id, text) in writer.await.unwrap() {
            let one = Range { key: key.clone(), from: id, to: id, count: 1, newest_first: false };
            assert_eq!(broker.range(one).await.unwrap()[0].fields, fields(&text));
        }
    }
}

#[tokio::test]
async fn a_request_that_nobody_answered_in_time_is_not_taken_back() {
    let (server, proxy, broker, topic) = behind_a_proxy().await;
    let client = Client::new(Arc::new(broker) as SharedBroker);
    // What comes before the append takes time as well, and all of it counts.
    proxy.delay(Duration::from_millis(50));
    let request = Request::new(EventType::for_user("ask").unwrap(), "").with_timeout(Duration::from_secs(1));
    let answer = client.request(&topic, request).await;
    assert!(matches!(answer, Err(CallError::NoConsumers | CallError::TimedOut(_))), "{answer:?}");
    client.emit(&topic, Message::new(EventType::for_user("later").unwrap(), "")).await.unwrap();
    assert_eq!(server.command(["XLEN", topic.inbound().as_str()]).await.int(), 2, "it expires by itself");
}

/// Whether anybody is there at all is found out before the deadline, and not after it.
#[tokio::test]
async fn a_frozen_server_does_not_make_a_deadline_later() {
    let server = RedisServer::spawn().await;
    let broker: SharedBroker = Arc::new(RedisBroker::connect_with(config(&server.url())).await.expect("a broker"));
    let limit = Duration::from_secs(1);
    let client = Client::new(broker).with_timeout(limit);
    let topic = Topic::new("frozen").expect("a topic");
    server.pause();
    let request = Request::new(EventType::for_user("ask").expect("an event type"), "");
    let asking = client.request(&topic, request);
    // Both are timers of this thread, so a machine that stands still delays both.
    let answer = tokio::time::timeout(limit + Duration::from_millis(500), asking).await.expect("an end in time");
    assert!(matches!(answer, Err(CallError::TimedOut(_))), "{answer:?}");
    server.resume();
}
