//! Who holds a delivery, and for how long.

use std::time::Duration;

use futures_util::future::join;
use http::StatusCode;
use streamerson_core::{
    Reply, SharedBroker, Wire,
    broker::{Fence, ReplyAppend, Settlement},
    dead_letter::Reason,
    group::{Held, Member, Outcome},
};

use super::scene::{Scene, Worker, inbox_of, next, payload, request};
use crate::eventually;

/// Short enough to be waited for. Renewed every third of it.
const LEASE: Duration = Duration::from_millis(300);

async fn member(scene: &Scene) -> Member {
    scene.member_with(|config| config.lease = LEASE).await
}

/// What a dead member held, handed out or not, goes to another, which can tell.
pub async fn end_with_a_crash(broker: SharedBroker) {
    let scene = Scene::new(broker);
    scene.emit_many(2).await;
    let mut crashing = member(&scene).await;
    let held = next(&mut crashing).await;
    assert_eq!(held.delivery.count, 1);
    eventually("both are taken", async || (scene.pending().await.len() == 2).then_some(())).await;
    drop(crashing);
    drop(held);

    let mut other = member(&scene).await;
    for expected in ["0", "1"] {
        let held = next(&mut other).await;
        assert_eq!((payload(&held), held.delivery.count), (expected.to_owned(), 2));
        held.settle(Outcome::Done).await;
    }
    scene.all_settled().await;
}

/// So does a delivery that a live member lets go.
pub async fn end_when_a_delivery_is_dropped(broker: SharedBroker) {
    let scene = Scene::new(broker);
    scene.emit_many(1).await;
    let mut member = member(&scene).await;
    drop(next(&mut member).await);
    // The member lives, and may well get it again itself.
    let held = next(&mut member).await;
    assert_eq!(held.delivery.count, 2);
    held.settle(Outcome::Done).await;
    scene.all_settled().await;
}

/// A slow handler is not a dead one: its lease is renewed for as long as it runs.
pub async fn outlast_a_slow_handler(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut slow = scene.member_with(|config| (config.lease, config.concurrency) = (LEASE, 1)).await;
    scene.emit(&["slow"]).await;
    let held = next(&mut slow).await;

    // Another delivery goes from crash to crash: after three of them, three leases are over.
    scene.emit(&["marks the time"]).await;
    for count in 1..=4 {
        let mut crashing = member(&scene).await;
        let marker = next(&mut crashing).await;
        assert_eq!((payload(&marker), marker.delivery.count), ("marks the time".to_owned(), count));
    }
    let pending = scene.pending().await;
    let slow_one = pending.iter().find(|entry| entry.id == held.delivery.entry).expect("it is pending");
    assert_eq!((&*slow_one.member, slow_one.count), (&*slow.membership().member, 1));
    assert!(!held.is_lost());
    held.settle(Outcome::Done).await;
    eventually("it is settled", async || (scene.pending().await.len() == 1).then_some(())).await;
}

/// Who lost a lease is told, and what it does then is discarded.
pub async fn are_lost_to_a_thief(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let client = scene.client();
    let mut robbed = member(&scene).await;
    let rob = async {
        let held = next(&mut robbed).await;
        let lease = held.lease();
        assert!(!lease.is_lost());
        let thief = scene.steal().await;
        lease.lost().await;
        assert!(held.is_lost() && lease.is_lost());
        // Told at once also if it is long since lost.
        lease.lost().await;
        let (entry, id) = (held.delivery.entry, held.delivery.message.id.clone());
        let key = inbox_of(&scene, &held);
        held.settle(Outcome::Replied(Reply::new("of the one who lost it"))).await;
        let reply = Reply::new("of the thief").into_message(id);
        let fields = Wire::default().encode(&reply).expect("a reply");
        let settlement = Settlement { reply: Some(ReplyAppend { key, fields }), ..Settlement::done(entry) };
        let lost = scene.broker.settle(&thief, &[settlement], Fence::Check).await.expect("settled").lost;
        assert_eq!(lost, [], "it was left to the thief");
    };
    let (reply, ()) = join(client.request(&scene.topic, request("?")), rob).await;
    assert_eq!(reply.expect("a reply").payload, "of the thief");
    scene.all_settled().await;
    assert_eq!(robbed.settled(), 0);
}

/// What is handed back is delivered again at once.
pub async fn end_by_a_hand_back(broker: SharedBroker) {
    let scene = Scene::new(broker);
    scene.emit_many(1).await;
    let mut member = scene.member_with(|config| config.lease = Duration::from_secs(3)).await;
    next(&mut member).await.hand_back();
    let held = next(&mut member).await;
    assert_eq!(held.delivery.count, 1, "it never started, so it is not counted, and no lease had to end");
    held.settle(Outcome::Done).await;
    scene.all_settled().await;
}

/// A member that always has enough to do takes it as well, before anything new.
pub async fn end_by_a_hand_back_to_a_busy_member(broker: SharedBroker) {
    let scene = Scene::new(broker);
    scene.emit_many(3).await;
    let member = async || scene.member_with(|config| config.concurrency = 1).await;
    let mut leaving = member().await;
    let started = next(&mut leaving).await;
    let mut busy = member().await;
    let held = next(&mut busy).await;
    leaving.stopper().stop();
    started.hand_back();
    assert_eq!(leaving.leave(Duration::from_secs(10)).await, 1);
    // So long that it looks for what others left, and has no room for it.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    held.settle(Outcome::Done).await;
    let handed_back = next(&mut busy).await;
    assert_eq!(payload(&handed_back), "0");
    handed_back.settle(Outcome::Done).await;
    next(&mut busy).await.settle(Outcome::Done).await;
    scene.all_settled().await;
}

/// A message that kills whoever has it is a dead letter in the end, and its caller is told.
pub async fn abandon_after_too_many_deliveries(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let deadly = async || scene.member_with(|config| (config.lease, config.deliveries_max) = (LEASE, 2)).await;
    let client = scene.client();
    let asked = request("deadly").with_timeout(Duration::from_secs(30));
    let id = asked.id.clone();
    let crash_twice = async {
        for count in 1..=2 {
            let mut crashing = deadly().await;
            let held: Held = next(&mut crashing).await;
            assert_eq!(held.delivery.count, count);
        }
        deadly().await
    };
    let (reply, mut survivor) = join(client.request(&scene.topic, asked), crash_twice).await;
    let reply = reply.expect("the caller is told");
    assert_eq!((reply.status_or_ok(), reply.is_error), (StatusCode::BAD_GATEWAY, true));
    let letters = scene.dead_letters().await;
    let [(letter, original)] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!(letter.reason, Reason::Abandoned);
    assert_eq!(streamerson_core::Wire::default().decode(&original.fields).expect("the message").id, id);
    scene.emit(&["harmless"]).await;
    assert_eq!(payload(&next(&mut survivor).await), "harmless");
}

/// All that a dead member held is taken over in one go, not a handful a second.
pub async fn are_taken_over_in_bulk(broker: SharedBroker) {
    let scene = Scene::new(broker);
    scene.emit_many(1000).await;
    let crashing = scene.member_with(|config| (config.lease, config.concurrency) = (LEASE, 1000)).await;
    eventually("all are taken", async || (scene.pending().await.len() == 1000).then_some(())).await;
    drop(crashing);
    let worker = Worker::start(member(&scene).await, |held| {
        assert_eq!(held.delivery.count, 2);
        Outcome::Done
    });
    // Ten times as many as one step takes over, in far less than ten seconds.
    scene.all_settled().await;
    worker.stop().await;
}
