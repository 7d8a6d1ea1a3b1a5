//! What the server refuses, and what is too much for its scripts.

use std::time::Duration;

use streamerson_core::{
    BrokerError, EntryId, Fields, Name, Topic,
    broker::{Append, Broker, DeadAppend, Fence, GroupStart, Membership, Pending, Range, ReplyAppend, Settlement},
};
use streamerson_redis::RedisBroker;
use streamerson_test::RedisServer;

fn fields(text: &str) -> Fields {
    let mut fields = Fields::default();
    fields.push("p", text.to_owned());
    fields
}

/// A member that holds one delivery.
async fn holder(broker: &RedisBroker, topic: &Topic) -> (Membership, EntryId) {
    let membership = Membership::new(topic.inbound(), Name::unique());
    broker.create_group(&membership.key, &membership.group, GroupStart::After(EntryId::ZERO)).await.expect("a group");
    broker.append(vec![Append::new(membership.key.clone(), fields("ask"))]).await.remove(0).expect("an entry");
    let held = broker.group_reader(&membership).read(1, Duration::ZERO).await.expect("a delivery");
    (membership, held[0].entry.id)
}

async fn pending(broker: &RedisBroker, membership: &Membership) -> usize {
    let Membership { key, group, .. } = membership.clone();
    broker.pending(Pending { key, group, member: None, from: EntryId::ZERO, count: 10 }).await.expect("an answer").len()
}

#[tokio::test]
async fn a_full_server_leaves_deliveries_pending() {
    let server = RedisServer::spawn().await;
    let broker = RedisBroker::connect(&server.url()).await.unwrap();
    let topic = Topic::new("full").unwrap();
    let (membership, id) = holder(&broker, &topic).await;
    let inbox = topic.inbox(&Name::unique());
    broker.append(vec![Append::new(inbox.clone(), fields("made"))]).await.remove(0).unwrap();
    server.command(["CONFIG", "SET", "maxmemory", "1"]).await;

    let is_full = |error: &BrokerError| error.is_transient() && error.to_string().contains("OOM");
    let appended = broker.append(vec![Append::new(topic.inbound(), fields("more"))]).await.remove(0);
    assert!(is_full(&appended.unwrap_err()));
    let reply = Some(ReplyAppend { key: inbox, fields: fields("answer") });
    let dead = Some(DeadAppend::new(topic.dead(), fields("dead")));
    for settlement in [
        Settlement { reply: reply.clone(), ..Settlement::done(id) },
        Settlement { dead, ..Settlement::done(id) },
        Settlement { reply, emitted: vec![Append::new(topic.outbound(), fields("event"))], ..Settlement::done(id) },
    ] {
        for fence in [Fence::Renewed, Fence::Check] {
            let error = broker.settle(&membership, std::slice::from_ref(&settlement), fence).await.unwrap_err();
            assert!(is_full(&error), "{error}");
            assert_eq!(pending(&broker, &membership).await, 1);
        }
    }
    // What needs no room still works, so that the server can be emptied.
    assert_eq!(broker.renew(&membership, vec![id]).await.unwrap(), []);
    assert_eq!(broker.settle(&membership, &[Settlement::done(id)], Fence::Check).await.unwrap().lost, []);
    assert_eq!(pending(&broker, &membership).await, 0);
}

#[tokio::test]
async fn what_a_user_may_not_do_is_said() {
    let server = RedisServer::spawn().await;
    server.command(["ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@all", "-xadd", "-script", "-client"]).await;
    let url = format!("redis://reader:pw@{}", server.address());
    let broker = RedisBroker::connect(&url).await.unwrap();
    let topic = Topic::new("acl").unwrap();
    let refused = broker.append(vec![Append::new(topic.inbound(), fields("no"))]).await.remove(0).unwrap_err();
    assert!(matches!(&refused, BrokerError::Refused { code, .. } if &**code == "NOPERM"), "{refused}");
    assert!(!refused.is_transient());
    // Without SCRIPT LOAD, scripts run all the same.
    let membership = Membership::new(topic.inbound(), Name::unique());
    broker.create_group(&membership.key, &membership.group, GroupStart::End).await.unwrap();
    assert!(broker.leave(&membership).await.unwrap());
}

#[tokio::test]
async fn an_entry_with_more_fields_than_a_script_can_hold_is_buried_whole() {
    let server = RedisServer::spawn().await;
    let broker = RedisBroker::connect(&server.url()).await.unwrap();
    let topic = Topic::new("wide").unwrap();
    let (membership, id) = holder(&broker, &topic).await;
    let mut wide = Fields::default();
    (0..5000).for_each(|number| wide.push(number.to_string(), "x"));
    let batch = [Settlement { dead: Some(DeadAppend::new(topic.dead(), wide.clone())), ..Settlement::done(id) }];
    assert_eq!(broker.settle(&membership, &batch, Fence::Check).await.unwrap().lost, []);
    assert_eq!(broker.settle(&membership, &batch, Fence::Check).await.unwrap().lost, [id]);
    let range = Range { key: topic.dead(), from: EntryId::ZERO, to: EntryId::MAX, count: 10, newest_first: false };
    let buried = broker.range(range).await.unwrap();
    assert_eq!((buried.len(), &buried[0].fields), (1, &wide));
}

#[tokio::test]
async fn scripts_that_the_server_has_forgotten_are_sent_again() {
    let server = RedisServer::spawn().await;
    let broker = RedisBroker::connect(&server.url()).await.unwrap();
    let (membership, id) = holder(&broker, &Topic::new("forgetful").unwrap()).await;
    assert_eq!(broker.renew(&membership, vec![id]).await.unwrap(), []);
    server.command(["SCRIPT", "FLUSH"]).await;
    assert_eq!(broker.renew(&membership, vec![id]).await.unwrap(), []);
}

#[tokio::test]
async fn a_mistaken_url_is_a_mistake_in_the_configuration() {
    for url in ["redis://:hunter2@localhost:x", "redis-cluster://:hunter2@localhost"] {
        let error = RedisBroker::connect(url).await.unwrap_err();
        assert!(matches!(error, BrokerError::Config { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}
