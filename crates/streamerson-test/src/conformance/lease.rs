//! Leases: who renews keeps, who does not loses, and who lost does nothing more.

use std::time::{Duration, Instant};

use streamerson_core::{
    BrokerError, EntryId, SharedBroker, StreamKey,
    broker::{Append, DeadAppend, Fence, ReplyAppend, Settlement},
};

use super::scene::{Scene, entries, fields, ids, texts};
use crate::eventually;

const LEASE: Duration = Duration::from_millis(200);

/// A member keeps what it renews, and loses what it does not.
pub async fn last_while_they_are_renewed(broker: SharedBroker) {
    // A machine that stalls between a renewal and the reclaim after it ends the lease by right: such a run proves
    // nothing, and another one does.
    while !keeps_what_is_renewed(&Scene::with_group(broker.clone()).await).await {}
}

async fn keeps_what_is_renewed(scene: &Scene) -> bool {
    let (holder, held) = scene.holder(2).await;
    let (renewed, neglected) = (held[0], held[1]);
    let other = scene.member();
    let started = Instant::now();
    loop {
        let before = Instant::now();
        assert_eq!(holder.renew(&[renewed]).await, []);
        let taken = ids(&other.reclaim(LEASE).await.0);
        let took = before.elapsed();
        if taken.contains(&renewed) {
            assert!(took >= LEASE, "taken {took:?} after its renewal");
            return false;
        }
        if taken == [neglected] {
            // The renewed one would have been taken by now as well, had renewing not kept it.
            assert!(started.elapsed() + Duration::from_millis(20) >= LEASE, "taken after {:?}", started.elapsed());
            assert_eq!(scene.owner(renewed).await.as_deref(), Some(holder.name()));
            return true;
        }
        assert_eq!(taken, []);
    }
}

/// Renewing starts the idle time again and counts as no delivery.
pub async fn are_renewed_without_counting(broker: SharedBroker) {
    let scene = Scene::with_group(broker).await;
    let (holder, held) = scene.holder(1).await;
    eventually("an idle time", async || (scene.pending().await[0].idle >= LEASE).then_some(())).await;
    let before = Instant::now();
    assert_eq!(holder.renew(&held).await, []);
    let pending = scene.pending().await;
    assert!(pending[0].idle <= before.elapsed() + Duration::from_millis(20), "{:?}", pending[0].idle);
    assert_eq!(pending[0].count, 1);
}

/// Renewing tells what was lost, and takes nothing back.
pub async fn report_what_was_lost(broker: SharedBroker) {
    let scene = Scene::with_group(broker).await;
    let (slow, held) = scene.holder(3).await;
    let thief = scene.member();
    let step = thief.reclaim_step(Duration::ZERO, 2, EntryId::ZERO).await;
    assert_eq!(ids(&step.deliveries), held[..2]);
    slow.finish(&held[2..]).await;
    assert_eq!(slow.renew(&held).await, held, "two were taken, and one is settled");
    assert_eq!(scene.owner(held[0]).await.as_deref(), Some(thief.name()));
}

/// What ends a delivery in every way at once: a reply, an emitted entry and a dead letter.
fn everything(scene: &Scene, id: EntryId, inbox: &StreamKey) -> Settlement {
    Settlement {
        reply: Some(ReplyAppend { key: inbox.clone(), fields: fields("reply") }),
        emitted: vec![Append::new(scene.topic.outbound(), fields("emitted"))],
        dead: Some(DeadAppend::new(scene.topic.dead(), fields("dead"))),
        ..Settlement::done(id)
    }
}

/// A member that lost a delivery settles nothing for it: no reply, nothing emitted, no dead letter, no ack.
pub async fn fence_who_lost(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let inbox = scene.inbox().await;
    let (slow, held) = scene.holder(1).await;
    let thief = scene.member();
    assert_eq!(ids(&thief.steal().await), held);

    assert_eq!(slow.settle(&[everything(&scene, held[0], &inbox)]).await, held);
    assert_eq!(scene.owner(held[0]).await.as_deref(), Some(thief.name()), "still the thief's to settle");
    for key in [&inbox, &scene.topic.outbound(), &scene.topic.dead()] {
        assert_eq!(entries(&broker, key).await, [], "{key}");
    }

    assert_eq!(thief.settle(&[everything(&scene, held[0], &inbox)]).await, []);
    assert_eq!(scene.pending_ids().await, []);
    for (key, text) in [(&inbox, "reply"), (&scene.topic.outbound(), "emitted"), (&scene.topic.dead(), "dead")] {
        assert_eq!(texts(&entries(&broker, key).await), [text], "{key}");
    }
}

/// In a batch, what was lost does not hold up what was not.
pub async fn fence_each_delivery_by_itself(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let inbox = scene.inbox().await;
    let (slow, held) = scene.holder(3).await;
    let thief = scene.member();
    let stolen = thief.reclaim_step(Duration::ZERO, 1, held[1]).await;
    assert_eq!(ids(&stolen.deliveries), held[1..2]);

    let batch: Vec<_> = held
        .iter()
        .enumerate()
        .map(|(number, &id)| Settlement {
            reply: Some(ReplyAppend { key: inbox.clone(), fields: fields(&number.to_string()) }),
            ..Settlement::done(id)
        })
        .collect();
    assert_eq!(slow.settle(&batch).await, held[1..2]);
    assert_eq!(texts(&entries(&broker, &inbox).await), ["0", "2"]);
    assert_eq!(scene.pending_ids().await, held[1..2]);
}

/// A batch with a dead letter is fenced even when its sender thinks that it need not be.
pub async fn fence_dead_letters_always(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let (slow, held) = scene.holder(1).await;
    let thief = scene.member();
    assert_eq!(ids(&thief.steal().await), held);
    let dead = DeadAppend::new(scene.topic.dead(), fields("dead"));
    let batch = [Settlement { dead: Some(dead), ..Settlement::done(held[0]) }];
    let lost = broker.settle(&slow.membership, &batch, Fence::Renewed).await.expect("an answer").lost;
    assert_eq!(lost, held);
    assert!(!scene.exists(&scene.topic.dead()).await);
    assert_eq!(scene.owner(held[0]).await.as_deref(), Some(thief.name()));
}

/// Settling the same batch again does nothing and reports all of it: so a batch of unknown fate may be sent again.
pub async fn fence_what_is_settled(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let inbox = scene.inbox().await;
    let (member, held) = scene.holder(1).await;
    assert_eq!(member.settle(&[everything(&scene, held[0], &inbox)]).await, []);
    assert_eq!(member.settle(&[everything(&scene, held[0], &inbox)]).await, held);
    for key in [&inbox, &scene.topic.outbound(), &scene.topic.dead()] {
        assert_eq!(entries(&broker, key).await.len(), 1, "{key}");
    }
}

/// Nobody settles what was never delivered, nor for a name that holds nothing.
pub async fn fence_strangers(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let (holder, held) = scene.holder(1).await;
    let unread = scene.append("unread").await;
    let stranger = scene.member();
    assert_eq!(stranger.settle(&[Settlement::done(held[0]), Settlement::done(unread)]).await, [held[0], unread]);
    assert_eq!(holder.settle(&[Settlement::done(unread)]).await, [unread]);
    assert_eq!(stranger.renew(&[held[0], unread]).await, [held[0], unread]);
    assert_eq!(scene.pending_ids().await, held);
    assert_eq!(ids(&scene.member().read(10).await), [unread], "what was not delivered still will be");
}

/// Settling for a group that is gone writes nothing.
pub async fn fence_a_missing_group(broker: SharedBroker) {
    let scene = Scene::with_group(broker.clone()).await;
    let inbox = scene.inbox().await;
    let (member, held) = scene.holder(1).await;
    broker.drop_group(&scene.key, &scene.group).await.expect("dropped");
    let reply = ReplyAppend { key: inbox.clone(), fields: fields("late") };
    let batch = [Settlement { reply: Some(reply), ..Settlement::done(held[0]) }];
    match broker.settle(&member.membership, &batch, Fence::Check).await {
        Ok(settled) => assert_eq!(settled.lost, held),
        Err(error) => assert!(matches!(error, BrokerError::NoGroup { .. }), "{error:?}"),
    }
    assert_eq!(entries(&broker, &inbox).await, []);
}
