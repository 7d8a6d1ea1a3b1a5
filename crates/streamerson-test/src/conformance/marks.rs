//! Small values that go by themselves.

use std::time::Duration;

use bytes::Bytes;
use streamerson_core::{
    MarkKey, MessageId, MeterKey, Name, SharedBroker,
    broker::{Append, Charge, DeadAppend, Extension, Fence, Mark, ReplyAppend, Reserved, Settlement},
};
use tokio::task::JoinSet;

use super::scene::{FOREVER, Scene, entries, fields, texts};
use crate::eventually;

fn mark(key: &MarkKey, value: impl Into<Bytes>) -> Mark {
    Mark { key: key.clone(), value: value.into(), ttl: FOREVER }
}

fn a_key(scene: &Scene) -> MarkKey {
    scene.topic.idempotency_mark(&MessageId::unique())
}

async fn recall(broker: &SharedBroker, keys: &[&MarkKey]) -> Vec<Option<Bytes>> {
    broker.recall(keys.iter().map(|key| (*key).clone()).collect()).await.expect("recalled")
}

async fn set_if_absent(broker: &SharedBroker, mark: Mark) -> Option<Bytes> {
    broker.mark_if_absent(vec![mark]).await.expect("an answer").pop().expect("an answer for the mark")
}

/// A meter answers the sum of the bytes that all callers added, each for its time, and the meters of topics and groups are
/// apart.
pub async fn are_metered(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let (key, other) = (scene.topic.idempotency_meter(), scene.topic.done_meter(&scene.group));
    let charge = async |key: &MeterKey, bytes, ttl| {
        broker.charge(Charge { key: key.clone(), bytes, ttl, reserved: None }).await.expect("charged")
    };
    let short = Duration::from_millis(200);
    assert_eq!(charge(&key, 0, FOREVER).await, 0);
    assert_eq!(charge(&key, 5, FOREVER).await, 5);
    assert_eq!(charge(&key, 7, 2 * FOREVER).await, 12);
    assert!(charge(&key, 1000, short).await >= 1012);
    assert_eq!(charge(&other, 1, FOREVER).await, 1);
    eventually("the bytes are taken off", async || (charge(&key, 0, short).await == 12).then_some(())).await;
    let chargers = (0..8).map(|_| {
        let (broker, key) = (broker.clone(), key.clone());
        async move {
            for _ in 0..50 {
                broker
                    .charge(Charge { key: key.clone(), bytes: 10, ttl: FOREVER, reserved: None })
                    .await
                    .expect("charged");
            }
        }
    });
    JoinSet::from_iter(chargers).join_all().await;
    assert_eq!(charge(&key, 0, FOREVER).await, 4012);
}

/// A mark that would go too soon stays longer, with the value that it has by then.
pub async fn are_extended_when_they_would_go_soon(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let id = MessageId::unique();
    let key = scene.topic.idempotency_mark(&id);
    let extend = async |least| broker.extend_mark(&key, least, FOREVER).await.expect("extended");
    let second = Duration::from_secs(1);
    assert_eq!(extend(second).await, Extension::Absent);
    let value = async |value: &'static str, ttl| {
        broker.mark(vec![Mark { key: key.clone(), value: value.into(), ttl }]).await.expect("set");
    };
    value("kept", FOREVER).await;
    assert_eq!(extend(second).await, Extension::Unneeded);
    value("brief", second).await;
    // Set behind it, with its time: it would have gone before.
    let other = scene.topic.idempotency_mark(&MessageId::unique());
    let as_brief = Mark { key: other.clone(), value: "".into(), ttl: second };
    broker.mark(vec![as_brief]).await.expect("set");
    assert_eq!(extend(2 * second).await, Extension::Extended);
    assert_eq!(extend(2 * second).await, Extension::Unneeded);
    eventually("the time before it was extended to be over", async || {
        (broker.recall(vec![other.clone()]).await.expect("recalled") == [None]).then_some(())
    })
    .await;
    assert_eq!(broker.recall(vec![key.clone()]).await.expect("recalled"), [Some("brief".into())]);
    value("gone", Duration::from_millis(1)).await;
    eventually("it goes", async || (broker.recall(vec![key.clone()]).await.expect("recalled") == [None]).then_some(()))
        .await;
    assert_eq!(extend(second).await, Extension::Absent);
}

/// A meter's sum includes what other holders have reserved: the last number of each, until its time is over.
pub async fn are_metered_with_reservations(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let key = scene.topic.idempotency_meter();
    let (one, other) = (Name::unique(), Name::unique());
    let reserve = async |holder: &Name, reserved, ttl, bytes| {
        let reserved = Some(Reserved { holder: holder.clone(), bytes: reserved, ttl });
        broker.charge(Charge { key: key.clone(), bytes, ttl: FOREVER, reserved }).await.expect("charged")
    };
    assert_eq!(reserve(&one, 100, FOREVER, 1).await, 1, "its own is not in the sum");
    assert_eq!(reserve(&other, 20, FOREVER, 2).await, 103);
    assert_eq!(reserve(&one, 50, FOREVER, 0).await, 23, "the other's");
    for _ in 0..20 {
        reserve(&one, 60, FOREVER, 0).await;
    }
    assert_eq!(reserve(&other, 20, FOREVER, 0).await, 63, "the last number counts, and once");
    assert_eq!(reserve(&one, 0, FOREVER, 0).await, 23);
    assert_eq!(reserve(&other, 0, FOREVER, 0).await, 3);
    reserve(&one, 1000, Duration::from_millis(100), 0).await;
    eventually("it ends unless it is renewed", async || (reserve(&other, 0, FOREVER, 0).await == 3).then_some(()))
        .await;
}

/// Marks are recalled byte for byte, in the order of the question, and the last one set counts.
pub async fn are_recalled(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let (odd, empty, none) = (a_key(&scene), a_key(&scene), a_key(&scene));
    let bytes = Bytes::from_static(&[0xff, 0x00, b'\r', b'\n', 0xc3]);
    broker.mark(vec![mark(&odd, "first")]).await.expect("marked");
    broker.mark(vec![mark(&odd, bytes.clone()), mark(&empty, "x"), mark(&empty, "")]).await.expect("marked");
    broker.mark(vec![]).await.expect("nothing to mark");
    let found = recall(&broker, &[&empty, &none, &odd, &odd]).await;
    assert_eq!(found, [Some(Bytes::new()), None, Some(bytes.clone()), Some(bytes)]);
    assert_eq!(recall(&broker, &[]).await, []);
}

/// A mark goes when its time is over, and a new one with its key may be set.
pub async fn go_by_themselves(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let (short, long) = (a_key(&scene), a_key(&scene));
    let ttl = Duration::from_millis(100);
    broker.mark(vec![Mark { ttl, ..mark(&short, "short") }]).await.expect("marked");
    broker.mark(vec![Mark { ttl, ..mark(&long, "long") }]).await.expect("marked");
    broker.mark(vec![mark(&long, "longer")]).await.expect("marked again, for longer");
    let absent = eventually("the mark goes", async || {
        set_if_absent(&broker, mark(&short, "next")).await.is_none().then_some(())
    });
    absent.await;
    assert_eq!(recall(&broker, &[&short, &long]).await, [Some("next".into()), Some("longer".into())]);
}

/// What is there is answered, and stays as it is.
pub async fn are_set_if_absent(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let key = a_key(&scene);
    assert_eq!(set_if_absent(&broker, mark(&key, "first")).await, None);
    for value in ["second", "third"] {
        let found = set_if_absent(&broker, mark(&key, value)).await;
        assert_eq!(found, Some(Bytes::from_static(b"first")));
    }
    assert_eq!(recall(&broker, &[&key]).await, [Some("first".into())]);
    broker.mark(vec![mark(&key, "")]).await.expect("marked");
    assert_eq!(set_if_absent(&broker, mark(&key, "x")).await, Some(Bytes::new()), "empty is there");
    // Some that are there and some that are not, each answered in its place.
    let (new, other) = (a_key(&scene), a_key(&scene));
    let marks = vec![mark(&new, "new"), mark(&key, "x"), mark(&other, "other"), mark(&new, "again")];
    let found = broker.mark_if_absent(marks).await.expect("an answer");
    assert_eq!(found, [None, Some(Bytes::new()), None, Some("new".into())]);
    assert_eq!(broker.mark_if_absent(vec![]).await.expect("an answer"), []);
}

/// Of many who set the same mark if it is absent, one does, and all others find its value.
pub async fn are_set_by_one_of_many(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    for _ in 0..20 {
        let key = a_key(&scene);
        let mut setters = JoinSet::new();
        for setter in 0..8 {
            let (broker, mark) = (broker.clone(), mark(&key, setter.to_string()));
            setters.spawn(async move { (setter, set_if_absent(&broker, mark).await) });
        }
        let (set, found): (Vec<_>, Vec<_>) =
            setters.join_all().await.into_iter().partition(|(_, found)| found.is_none());
        assert_eq!(set.len(), 1, "{set:?}");
        let value = Bytes::from(set[0].0.to_string());
        assert!(found.iter().all(|(_, found)| found.as_ref() == Some(&value)), "{found:?}");
    }
}

/// A mark is set in one step with the ack, alone or with whatever else ends a delivery; not for a delivery that was lost.
pub async fn are_set_with_the_ack(broker: SharedBroker) {
    for fence in [Fence::Renewed, Fence::Check] {
        let scene = Scene::with_group(broker.clone()).await;
        let inbox = scene.inbox().await;
        let (member, held) = scene.holder(5).await;
        let keys: Vec<_> = (0..5).map(|_| scene.topic.done_mark(&scene.group, &MessageId::unique())).collect();
        let done = |at: usize| Settlement { mark: Some(mark(&keys[at], at.to_string())), ..Settlement::done(held[at]) };
        let reply = Some(ReplyAppend { key: inbox.clone(), fields: fields("reply") });
        let settle =
            async |batch: &[Settlement]| broker.settle(&member.membership, batch, fence).await.expect("settled").lost;
        assert_eq!(settle(&[done(0)]).await, []);
        assert_eq!(settle(&[done(1), Settlement { reply: reply.clone(), ..done(2) }]).await, []);
        let emitted = vec![Append::new(scene.topic.outbound(), fields("emitted"))];
        assert_eq!(settle(&[Settlement { reply, emitted, ..done(3) }]).await, []);
        assert_eq!(scene.pending_ids().await, held[4..]);
        let values: Vec<_> = (0..4).map(|at: i32| Some(Bytes::from(at.to_string()))).collect();
        assert_eq!(recall(&broker, &keys[..4].iter().collect::<Vec<_>>()).await, values, "{fence:?}");
        assert_eq!(texts(&entries(&broker, &inbox).await), ["reply", "reply"]);

        let thief = scene.member();
        thief.steal().await;
        assert_eq!(member.settle(&[done(4)]).await, held[4..], "it was lost");
        assert_eq!(recall(&broker, &[&keys[4]]).await, [None]);
        let dead = Some(DeadAppend::new(scene.topic.dead(), fields("dead")));
        assert_eq!(thief.settle(&[Settlement { dead, ..done(4) }]).await, []);
        assert_eq!(recall(&broker, &[&keys[4]]).await, [Some("4".into())]);
    }
}

/// Keys that hold no streams are in no list of streams, and in nobody's way.
pub async fn are_no_streams(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    scene.append("a").await;
    broker.mark(vec![mark(&a_key(&scene), "x")]).await.expect("marked");
    broker.mark(vec![mark(&scene.topic.done_mark(&scene.group, &MessageId::unique()), "x")]).await.expect("marked");
    let charge = Charge { key: scene.topic.idempotency_meter(), bytes: 1, ttl: FOREVER, reserved: None };
    broker.charge(charge).await.expect("charged");
    let (mut found, mut page) = (Vec::new(), Some(0));
    while let Some(at) = page {
        let streams = broker.streams(at).await.expect("a page");
        found.extend(streams.keys.into_iter().filter(|key| key.tag() == scene.key.tag()));
        page = streams.next;
    }
    found.dedup();
    assert_eq!(found, [scene.key]);
}
