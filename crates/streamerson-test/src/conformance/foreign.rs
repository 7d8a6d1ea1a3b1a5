//! Keys of a server that hold something other than a stream: an error that says so, and everything else goes on.
//!
//! These cases reach past the port to make such keys, so they need a server.

use std::time::Duration;

use streamerson_core::{
    BrokerError, EntryId, StreamKey,
    broker::{Append, DeadAppend, Fence, GroupStart, Range, ReplyAppend, Settlement, TrimTo},
};

use super::{
    Subject,
    scene::{AT_ONCE, Scene, append_to, entries, fields, texts},
};
use crate::Value;

/// Makes the key a string.
async fn occupy(subject: &Subject, key: &StreamKey) {
    let server = subject.server.as_ref().expect("a case for servers runs on one");
    assert_eq!(server.command(["SET", key.as_str(), "a string"]).await, Value::Status("OK".into()));
}

fn assert_wrong_type<T: std::fmt::Debug>(expected: &StreamKey, answer: Result<T, BrokerError>) {
    match answer {
        Err(BrokerError::WrongType { key }) => assert_eq!(key, *expected),
        other => panic!("expected that {expected} holds no stream, got {other:?}"),
    }
}

/// An append to such a key fails, the rest of the batch does not.
pub async fn spares_the_rest_of_a_batch(subject: Subject) {
    let scene = Scene::new(subject.broker.clone());
    let foreign = scene.topic.outbound();
    occupy(&subject, &foreign).await;
    let entry = |key: &StreamKey, text| Append::new(key.clone(), fields(text));
    let batch = vec![entry(&scene.key, "a"), entry(&foreign, "b"), entry(&scene.key, "c")];
    let mut answers = subject.broker.append(batch).await;
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    assert_wrong_type(&foreign, answers.remove(1));
    assert_eq!(texts(&entries(&subject.broker, &scene.key).await), ["a", "c"]);
}

/// Every question about such a key has the same answer.
pub async fn is_told_by_every_call(subject: Subject) {
    let scene = Scene::new(subject.broker.clone());
    let (broker, key) = (&subject.broker, &scene.key);
    occupy(&subject, key).await;
    let (from, to) = (EntryId::ZERO, EntryId::MAX);
    let range = Range { key: key.clone(), from, to, count: 1, newest_first: false };
    assert_wrong_type(key, broker.range(range).await);
    assert_wrong_type(key, broker.stream_info(key).await);
    assert_wrong_type(key, broker.create_group(key, &scene.group, GroupStart::End).await);
    assert_wrong_type(key, broker.groups(key).await);
    assert_wrong_type(key, broker.trim(key, TrimTo::Entries(1)).await);
    assert_wrong_type(key, broker.trim(key, TrimTo::Finished).await);
    assert_wrong_type(key, broker.reader().read(&[(key.clone(), EntryId::ZERO)], 1, AT_ONCE).await);
    assert_wrong_type(key, scene.member().read_for(1, AT_ONCE).await);
}

/// A reader of several streams tells which key is the foreign one, and goes on without it.
pub async fn can_be_left_out_of_a_read(subject: Subject) {
    let scene = Scene::new(subject.broker.clone());
    let (foreign, good) = (scene.topic.outbound(), scene.key.clone());
    occupy(&subject, &foreign).await;
    let id = scene.append("a").await;
    let mut reader = subject.broker.reader();
    let both = [(good.clone(), EntryId::ZERO), (foreign.clone(), EntryId::ZERO)];
    assert_wrong_type(&foreign, reader.read(&both, 10, Duration::from_secs(10)).await);
    let found = reader.read(&both[..1], 10, AT_ONCE).await.expect("a read");
    assert_eq!(found[0].entries[0].id, id);
}

/// A dead letter that cannot be written leaves its delivery pending, and the rest of the batch settles.
pub async fn keeps_what_cannot_be_buried(subject: Subject) {
    let scene = Scene::with_group(subject.broker.clone()).await;
    let (inbox, dead) = (scene.inbox().await, scene.topic.dead());
    occupy(&subject, &dead).await;
    let (member, held) = scene.holder(3).await;
    let reply = |text| Some(ReplyAppend { key: inbox.clone(), fields: fields(text) });
    let batch = [
        Settlement { reply: reply("0"), ..Settlement::done(held[0]) },
        Settlement { dead: Some(DeadAppend::new(dead.clone(), fields("dead"))), ..Settlement::done(held[1]) },
        Settlement { reply: reply("2"), ..Settlement::done(held[2]) },
    ];
    let answer = subject.broker.settle(&member.membership, &batch, Fence::Check).await;
    assert!(answer.is_err(), "nobody learns of the letter that is not there: {answer:?}");
    let pending = scene.pending_ids().await;
    assert!(pending.contains(&held[1]), "a delivery ended without a trace");
    assert_eq!(member.settle(&[Settlement::done(held[1])]).await, [], "it is still the member's to settle");

    // Whatever of the rest was done was done whole; sending it again settles what was not.
    let again = [batch[0].clone(), batch[2].clone()];
    member.settle(&again).await;
    assert_eq!(texts(&entries(&subject.broker, &inbox).await), ["0", "2"]);
    assert_eq!(scene.pending_ids().await, []);
}

/// An inbox that is no stream swallows a reply no more than it stops the others.
pub async fn does_not_stop_other_replies(subject: Subject) {
    let scene = Scene::with_group(subject.broker.clone()).await;
    let (inbox, foreign) = (scene.inbox().await, scene.topic.outbound());
    occupy(&subject, &foreign).await;
    let (member, held) = scene.holder(2).await;
    let reply = |key: &StreamKey| Some(ReplyAppend { key: key.clone(), fields: fields("reply") });
    let batch = [
        Settlement { reply: reply(&foreign), ..Settlement::done(held[0]) },
        Settlement { reply: reply(&inbox), ..Settlement::done(held[1]) },
    ];
    let _ = subject.broker.settle(&member.membership, &batch, Fence::Check).await;
    assert_eq!(texts(&entries(&subject.broker, &inbox).await), ["reply"]);
    assert!(!scene.pending_ids().await.contains(&held[1]), "the good one is settled");
    append_to(&subject.broker, &scene.key, "and the broker goes on").await;
}
