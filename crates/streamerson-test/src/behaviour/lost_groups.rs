//! A group that goes under its members: by a flush, a failover, somebody's hand.

use std::time::Duration;

use streamerson_core::{SharedBroker, group::Outcome};

use super::scene::{Scene, Worker, next, payload};
use crate::eventually;

/// Waits until there is a group again.
async fn is_back(scene: &Scene) {
    eventually("the group is made again", async || {
        let groups = scene.broker.groups(&scene.inbound()).await.expect("the groups");
        (!groups.is_empty()).then_some(())
    })
    .await;
}

async fn drop_group(scene: &Scene) {
    assert!(scene.broker.drop_group(&scene.inbound(), &scene.group).await.expect("dropped"));
}

/// Behind what was settled, again and again.
pub async fn are_made_again(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut member = scene.member().await;
    for round in 0..3 {
        let settled = scene.emit(&["before"]).await[0];
        next(&mut member).await.settle(Outcome::Done).await;
        scene.all_settled().await;
        eventually("it is known as settled", async || (member.settled() == 2 * round + 1).then_some(())).await;
        drop_group(&scene).await;
        is_back(&scene).await;
        let groups = scene.broker.groups(&scene.inbound()).await.expect("the groups");
        assert_eq!(groups[0].last_delivered, settled, "behind the last one that was settled");
        scene.emit(&["after"]).await;
        let held = next(&mut member).await;
        assert_eq!(payload(&held), "after", "and what was settled is not delivered again");
        held.settle(Outcome::Done).await;
        scene.all_settled().await;
        eventually("it is known as settled", async || (member.settled() == 2 * round + 2).then_some(())).await;
    }
}

/// Below the lowest that was unsettled, and nobody handles twice what it has in hand.
pub async fn skip_nothing_unsettled(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut crashing = scene.member().await;
    scene.emit_many(3).await;
    let held = [next(&mut crashing).await, next(&mut crashing).await, next(&mut crashing).await];
    let [first, second, third] = held;
    second.settle(Outcome::Done).await;
    eventually("the second is settled", async || (scene.pending().await.len() == 2).then_some(())).await;

    drop_group(&scene).await;
    is_back(&scene).await;
    // It is delivered again, to the member that has it all along; nobody handles it twice for that.
    eventually("the group is where it was", async || (scene.pending().await.len() == 3).then_some(())).await;
    third.settle(Outcome::Done).await;
    eventually("the third is settled", async || (scene.pending().await.len() == 2).then_some(())).await;
    let again = next(&mut crashing).await;
    assert_eq!(payload(&again), "1", "what was settled above the lowest unsettled comes again, no more than that");
    again.settle(Outcome::Done).await;
    eventually("one is pending", async || (scene.pending().await.len() == 1).then_some(())).await;
    assert_eq!(scene.pending().await[0].id, first.delivery.entry);
    first.settle(Outcome::Done).await;
    scene.all_settled().await;
}

/// Neither is what another member holds that is busy, and dies of it.
pub async fn skip_nothing_that_others_hold(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let lease = Duration::from_millis(500);
    let mut busy = scene.member_with(|config| (config.concurrency, config.lease) = (1, lease)).await;
    scene.emit(&["held by the busy one"]).await;
    let held = next(&mut busy).await;
    let mut other = scene.member_with(|config| config.lease = lease).await;
    scene.emit(&["settled"]).await;
    next(&mut other).await.settle(Outcome::Done).await;
    eventually("it is settled", async || (other.settled() == 1).then_some(())).await;

    // The busy one takes nothing, so that the other finds the group gone, knowing only what it has settled itself.
    drop_group(&scene).await;
    is_back(&scene).await;
    drop((busy, held));
    let mut again = Vec::new();
    while !again.contains(&"held by the busy one".to_owned()) {
        let held = next(&mut other).await;
        again.push(payload(&held));
        held.settle(Outcome::Done).await;
    }
}

/// Nor is what a sole member has given up, and nobody has taken over yet.
pub async fn skip_nothing_given_up(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut member = scene.member().await;
    scene.emit(&["given up", "settled"]).await;
    drop(next(&mut member).await);
    next(&mut member).await.settle(Outcome::Done).await;
    eventually("the second is settled", async || (member.settled() == 1).then_some(())).await;
    drop_group(&scene).await;
    is_back(&scene).await;
    scene.emit(&["new"]).await;
    let mut again = Vec::new();
    while !again.contains(&"new".to_owned()) {
        let held = next(&mut member).await;
        again.push(payload(&held));
        held.settle(Outcome::Done).await;
    }
    assert_eq!(again[0], "given up");
}

/// A stream that is gone, group and all, is made again, and requests go on.
pub async fn survive_a_flush(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let worker = scene.echo().await;
    let client = scene.client();
    let ask = async |text| client.request(&scene.topic, super::scene::request(text)).await;
    assert_eq!(ask("before").await.expect("a reply").payload, "before");
    scene.broker.remove(vec![scene.inbound()]).await.expect("removed");
    assert_eq!(ask("after").await.expect("a reply").payload, "after");
    worker.stop().await;

    // Also when a member holds something that is gone.
    let mut member = scene.member().await;
    scene.emit(&["gone"]).await;
    let gone = next(&mut member).await;
    scene.broker.remove(vec![scene.inbound()]).await.expect("removed");
    scene.emit(&["new"]).await;
    let held = next(&mut member).await;
    assert_eq!(payload(&held), "new");
    for held in [gone, held] {
        held.settle(Outcome::Done).await;
    }
    scene.all_settled().await;
    let worker = Worker::start(member, |_| Outcome::Done);
    scene.emit(&["newer"]).await;
    worker.stop().await;
}
