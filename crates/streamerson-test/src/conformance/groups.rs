//! Groups: where they start, and what happens without one.

use std::time::Duration;

use streamerson_core::{BrokerError, EntryId, SharedBroker, broker::GroupStart};
use tokio::time::timeout;

use super::scene::{AT_ONCE, FOREVER, Member, Scene, ids};

fn assert_no_group<T: std::fmt::Debug>(scene: &Scene, answer: Result<T, BrokerError>) {
    match answer {
        Err(BrokerError::NoGroup { key, group }) => assert_eq!((key, group), (scene.key.clone(), scene.group.clone())),
        other => panic!("expected that there is no such group, got {other:?}"),
    }
}

/// A group starts at the beginning, after an entry, or after the last one there is.
pub async fn start_where_they_are_told(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let old = scene.append_many(4).await;
    let all = scene.other_group(GroupStart::After(EntryId::ZERO)).await;
    let some = scene.other_group(GroupStart::After(old[1])).await;
    let new = scene.other_group(GroupStart::End).await;
    let late = scene.append("late").await;

    assert_eq!(ids(&all.member().read(10).await), [&old[..], &[late]].concat());
    assert_eq!(ids(&some.member().read(10).await), [old[2], old[3], late]);
    assert_eq!(ids(&new.member().read(10).await), [late]);
}

/// Making a group makes its stream, empty.
pub async fn make_their_stream(broker: SharedBroker) {
    for start in [GroupStart::After(EntryId::ZERO), GroupStart::End] {
        let scene = Scene::new(broker.clone()).other_group(start).await;
        assert_eq!(scene.len().await, 0);
        let id = scene.append("first").await;
        assert_eq!(ids(&scene.member().read(10).await), [id], "{start:?}");
    }
}

/// A group that exists stays as it is.
pub async fn are_made_once(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let ids = scene.append_many(2).await;
    let mut member = scene.member();
    assert_eq!(member.read(1).await[0].entry.id, ids[0]);
    for start in [GroupStart::After(EntryId::ZERO), GroupStart::End] {
        assert!(!broker.create_group(&scene.key, &scene.group, start).await.expect("no error"));
    }
    assert_eq!(scene.pending_ids().await, [ids[0]]);
    assert_eq!(member.read(10).await[0].entry.id, ids[1]);
}

/// Reading without a group, or without a stream, says so; the same reader goes on once the group is there.
pub async fn may_be_missing(broker: SharedBroker) {
    let scene = Scene::new(broker.clone());
    let mut member = scene.member();
    assert_no_group(&scene, member.read_for(1, AT_ONCE).await);
    let id = scene.append("a").await;
    assert_no_group(&scene, member.read_for(1, FOREVER).await);
    broker.create_group(&scene.key, &scene.group, GroupStart::After(EntryId::ZERO)).await.expect("made");
    assert_eq!(ids(&member.read(1).await), [id]);
}

/// A group that goes while a member waits in it is missed, at the latest by the next read.
pub async fn may_go_while_they_are_read(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let mut member = scene.member();
    let block = Duration::from_millis(300);
    let (waited, ()) = tokio::join!(biased; member.read_for(1, block), async {
        broker.remove(vec![scene.key.clone()]).await.expect("removed");
    });
    match waited {
        // Redis 6.2 notices at the end of the block only.
        Ok(deliveries) => assert_eq!(deliveries, []),
        gone => assert_no_group(&scene, gone),
    }
    assert_no_group(&scene, member.read_for(1, AT_ONCE).await);
}

/// What is asked of the pending entries of a missing group is answered by the same error.
pub async fn are_missed_by_every_question(broker: SharedBroker) {
    let missing_stream = Scene::new(broker.clone());
    let missing_group = Scene::new(broker.clone());
    missing_group.append("a").await;
    for scene in [missing_stream, missing_group] {
        let pending = streamerson_core::broker::Pending {
            key: scene.key.clone(),
            group: scene.group.clone(),
            member: None,
            from: EntryId::ZERO,
            count: 10,
        };
        assert_no_group(&scene, broker.pending(pending).await);
        assert_no_group(&scene, broker.members(&scene.key, &scene.group).await);
    }
}

/// Dropping a group drops its pending list and nothing else.
pub async fn can_be_dropped(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let other = scene.other_group(GroupStart::After(EntryId::ZERO)).await;
    let (_member, held) = scene.holder(2).await;
    assert!(broker.drop_group(&scene.key, &scene.group).await.expect("dropped"));
    assert!(!broker.drop_group(&scene.key, &scene.group).await.expect("no error"));
    assert_eq!(scene.len().await, 2);
    assert_eq!(ids(&other.member().read(10).await), held);
    let missing = Scene::new(broker.clone());
    assert!(!broker.drop_group(&missing.key, &missing.group).await.expect("no error"));
    assert!(!missing.exists(&missing.key).await);
}

/// Every group gets every entry.
pub async fn each_get_everything(broker: SharedBroker) {
    let scene = Scene::with_group(broker).await;
    let other = scene.other_group(GroupStart::After(EntryId::ZERO)).await;
    let (one, all) = scene.holder(5).await;
    let mut two = other.member();
    assert_eq!(ids(&two.read(10).await), all);
    one.finish(&all).await;
    assert_eq!(other.pending_ids().await, all, "the groups' pending lists are their own");
    two.finish(&all).await;
    assert_eq!(other.pending_ids().await, []);
}

/// A waiting member gets a new entry as soon as it is there, as its first delivery.
pub async fn wake_their_members(broker: SharedBroker) {
    let scene = Scene::with_group(broker).await;
    let mut member = scene.member();
    for _ in 0..20 {
        let read = timeout(Duration::from_secs(10), member.read_for(5, FOREVER));
        let (deliveries, id) = tokio::join!(biased; read, scene.append("new"));
        let deliveries = deliveries.expect("woken").expect("a group read");
        assert_eq!(ids(&deliveries), [id]);
        assert_eq!(deliveries[0].count, 1);
        member.finish(&[id]).await;
    }
}

/// With nothing new a member's read ends after its block, empty, and takes nothing that others hold.
pub async fn let_a_read_end_empty(broker: SharedBroker) {
    let scene = Scene::with_group(broker).await;
    let (_holder, held) = scene.holder(3).await;
    let mut idle: Member = scene.member();
    for block in [Duration::ZERO, Duration::from_micros(1), Duration::from_millis(50)] {
        let started = std::time::Instant::now();
        let read = timeout(Duration::from_secs(10), idle.read_for(5, block)).await.expect("an end");
        assert_eq!(read.expect("a group read"), []);
        assert!(started.elapsed() >= block / 2, "{:?} is no wait", started.elapsed());
    }
    assert_eq!(scene.pending_ids().await, held);
}
