//! Whose turn it is: order by key, further attempts, and what members died of.

use std::time::Duration;

use futures_util::FutureExt;
use streamerson_core::{
    Message, SharedBroker, Wire,
    broker::{Membership, ScheduledRange},
    dead_letter::Reason,
    group::{Held, LaneKey, Member, MemberConfig, OrderedBy, Outcome},
};

use super::scene::{Scene, entries, next, payload, request};
use crate::eventually;

/// Short, so that what nobody renews is taken over soon.
const LEASE: Duration = Duration::from_millis(300);

fn retried(after: Duration) -> Outcome {
    Outcome::Retried { after, error: "not this time".into() }
}

/// Orders by what the payload begins with.
fn by_letter(config: &mut MemberConfig) {
    let key = |message: &Message| message.payload.first().map(|letter| LaneKey::copy_from_slice(&[*letter]));
    config.ordered_by = Some(OrderedBy::new(key));
}

fn nothing_comes(member: &mut Member) {
    assert!(member.next().now_or_never().is_none(), "its turn has not come");
}

/// Equal keys are handled one after the other, others beside them.
pub async fn come_one_by_one_for_each_key(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut member = scene.member_with(by_letter).await;
    scene.emit(&["a1", "b1", "a2", "b2", "a3"]).await;
    let (a1, b1) = (next(&mut member).await, next(&mut member).await);
    assert_eq!([payload(&a1), payload(&b1)], ["a1", "b1"]);
    // All five are taken by now, since each entry of one read is.
    eventually("the rest is held", async || (scene.pending().await.len() == 5).then_some(())).await;
    nothing_comes(&mut member);
    b1.settle(Outcome::Done).await;
    let b2 = next(&mut member).await;
    assert_eq!(payload(&b2), "b2");
    a1.settle(Outcome::Done).await;
    let a2 = next(&mut member).await;
    assert_eq!(payload(&a2), "a2");
    // One that is given up leaves its place as well.
    drop(a2);
    let a3 = next(&mut member).await;
    assert_eq!(payload(&a3), "a3");
    a3.settle(Outcome::Done).await;
    b2.settle(Outcome::Done).await;
    eventually("all but the dropped one", async || (scene.pending().await.len() == 1).then_some(())).await;
}

/// What is tried again stays in front of others with its key.
pub async fn are_kept_by_what_is_tried_again(broker: SharedBroker) {
    let scene = Scene::new(broker);
    // Where an order is kept, nothing goes to the schedule, however long the pause.
    let ordered = |config: &mut MemberConfig| {
        by_letter(config);
        config.retry_held_max = Duration::ZERO;
    };
    let mut member = scene.member_with(ordered).await;
    scene.emit(&["a1", "a2", "b1"]).await;
    let (a1, b1) = (next(&mut member).await, next(&mut member).await);
    assert_eq!((payload(&a1), a1.delivery.failures), ("a1".into(), 0));
    a1.settle(retried(Duration::from_millis(50))).await;
    let again = next(&mut member).await;
    assert_eq!((payload(&again), again.delivery.failures, again.delivery.count), ("a1".into(), 1, 1));
    again.settle(Outcome::Done).await;
    let a2 = next(&mut member).await;
    assert_eq!(payload(&a2), "a2");
    a2.settle(Outcome::Done).await;
    b1.settle(Outcome::Done).await;
    scene.all_settled().await;
}

/// A short pause is waited out here: others are handled meanwhile, and nobody else gets the delivery.
pub async fn are_not_blocked_by_what_waits_for_another_attempt(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let change = |config: &mut MemberConfig| (config.concurrency, config.lease) = (1, LEASE);
    let mut member = scene.member_with(change).await;
    let mut other = scene.member_with(|config| config.lease = LEASE).await;
    let ids = scene.emit(&["first"]).await;
    let held = tokio::select! {
        held = next(&mut member) => held,
        held = next(&mut other) => {
            // The other was first; they swap.
            std::mem::swap(&mut member, &mut other);
            held
        }
    };
    let failing = member.membership().member.clone();
    // Longer than the lease, which is renewed meanwhile.
    held.settle(retried(4 * LEASE)).await;
    scene.emit(&["second"]).await;
    let second = tokio::select! {
        held = next(&mut member) => held,
        held = next(&mut other) => held,
    };
    assert_eq!(payload(&second), "second");
    second.settle(Outcome::Done).await;
    let again = tokio::select! {
        held = next(&mut member) => held,
        held = next(&mut other) => panic!("another member has {held:?}"),
    };
    assert_eq!((again.delivery.entry, again.delivery.failures), (ids[0], 1));
    assert_eq!(again.delivery.membership.member, failing);
    // A dead letter says how often it was tried.
    again.settle(Outcome::Dead { reason: Reason::Failed, error: "for good".into(), reply: None }).await;
    let letters = scene.dead_letters().await;
    assert_eq!(letters[0].0.attempts, 2);
    scene.all_settled().await;
}

/// A long pause is the schedule's: the delivery is acked, and the message comes back to this group alone.
pub async fn come_back_from_the_schedule(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let elsewhere = scene.other_group();
    let mut member = scene.member_with(|config| config.retry_held_max = Duration::ZERO).await;
    let mut other = elsewhere.member().await;
    let first = scene.emit(&["again", "next"]).await[0];
    let held = next(&mut member).await;
    let id = held.delivery.message.id.clone();
    held.settle(retried(Duration::from_millis(100))).await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let held = next(&mut member).await;
        seen.push((payload(&held), held.delivery.failures, held.delivery.entry > first));
        if payload(&held) == "again" {
            assert_eq!(held.delivery.message.id, id, "the same message");
        }
        held.settle(Outcome::Done).await;
    }
    seen.sort();
    assert_eq!(seen, [("again".into(), 1, true), ("next".into(), 0, true)]);
    scene.all_settled().await;
    let range = ScheduledRange { schedule: scene.topic.schedule(), after: None, count: 10 };
    assert_eq!(scene.broker.scheduled(range).await.expect("the schedule").entries, []);
    // The other group has both once.
    for expected in ["again", "next"] {
        let held = next(&mut other).await;
        assert_eq!((payload(&held), held.delivery.failures), (expected.into(), 0));
        held.settle(Outcome::Done).await;
    }
    elsewhere.all_settled().await;
    nothing_comes(&mut other);
}

/// A pause that never ends holds up what has another key no more than any other pause.
pub async fn may_be_for_ever_away(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut member = scene.member_with(by_letter).await;
    scene.emit(&["a1", "b1"]).await;
    next(&mut member).await.settle(retried(Duration::MAX)).await;
    next(&mut member).await.settle(Outcome::Done).await;
    eventually("the other is settled", async || (scene.pending().await.len() == 1).then_some(())).await;
    scene.emit(&["b2"]).await;
    next(&mut member).await.settle(Outcome::Done).await;
    eventually("so is the next", async || (member.settled() == 2).then_some(())).await;
}

/// A member that leaves puts off what waits for another attempt, attempts included.
pub async fn outlive_their_member(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut member = scene.member().await;
    scene.emit(&["again"]).await;
    next(&mut member).await.settle(retried(Duration::from_secs(20))).await;
    eventually("it waits", async || (scene.pending().await.len() == 1).then_some(())).await;
    member.leave(Duration::from_secs(10)).await;
    let mut heir = scene.member().await;
    // Due in 20 s, so it is looked at where it waits, if it is there.
    let range = ScheduledRange { schedule: scene.topic.schedule(), after: None, count: 10 };
    let waiting = scene.broker.scheduled(range).await.expect("the schedule").entries;
    let [scheduled] = &waiting[..] else { panic!("{waiting:?}") };
    let message = Wire::default().decode(&scheduled.fields).expect("a message");
    assert_eq!(message.headers.get("attempt"), Some("1"));
    assert_eq!(scene.pending().await, []);
    nothing_comes(&mut heir);
}

/// Has `crashes` members take the deliveries that are in the stream, one after the other, and die.
async fn crash(scene: &Scene, deliveries: usize, crashes: usize) {
    scene.take(deliveries).await;
    for _ in 1..crashes {
        let _dead: Membership = scene.steal().await;
    }
}

/// What members died of twice is handled beside others, but one at a time.
pub async fn come_one_by_one_after_two_crashes(broker: SharedBroker) {
    let scene = Scene::new(broker);
    scene.emit(&["s1", "s2"]).await;
    crash(&scene, 2, 2).await;
    let mut member = scene.member_with(|config| config.lease = LEASE).await;
    let s1 = next(&mut member).await;
    assert_eq!((payload(&s1), s1.delivery.count), ("s1".into(), 3));
    // Something that nobody died of passes the other suspect.
    scene.emit(&["n"]).await;
    let n = next(&mut member).await;
    assert_eq!(payload(&n), "n");
    nothing_comes(&mut member);
    s1.settle(Outcome::Done).await;
    let s2 = next(&mut member).await;
    assert_eq!((payload(&s2), s2.delivery.count), ("s2".into(), 3), "waiting was no delivery");
    s2.settle(Outcome::Done).await;
    n.settle(Outcome::Done).await;
    scene.all_settled().await;
}

/// What members died of three times is handled while nothing else is held.
pub async fn come_alone_after_three_crashes(broker: SharedBroker) {
    let scene = Scene::new(broker);
    scene.emit(&["p1", "p2"]).await;
    crash(&scene, 2, 3).await;
    let mut member = scene.member_with(|config| config.lease = LEASE).await;
    let alone = next(&mut member).await;
    assert_eq!(alone.delivery.count, 4);
    let name = member.membership().member.clone();
    let own = async || scene.pending().await.iter().filter(|entry| *entry.member == *name).count();
    assert_eq!(own().await, 1, "nothing else would be lost with it");
    // What comes meanwhile waits, and so does the other one.
    scene.emit(&["n"]).await;
    nothing_comes(&mut member);
    assert_eq!(own().await, 1);
    alone.settle(Outcome::Done).await;
    let mut rest = Vec::new();
    while rest.len() < 2 {
        let held: Held = next(&mut member).await;
        rest.push((payload(&held), held.delivery.count));
        held.settle(Outcome::Done).await;
    }
    rest.sort();
    assert_eq!(rest[0], ("n".into(), 1));
    assert_eq!(rest[1].1, 4, "given back, it was not delivered once more");
    scene.all_settled().await;
    assert!(entries(&scene.broker, &scene.topic.dead()).await.is_empty());
}

/// Also when something else that waits becomes due meanwhile.
pub async fn stay_alone_when_others_are_due(broker: SharedBroker) {
    let scene = Scene::new(broker);
    scene.emit(&["p"]).await;
    crash(&scene, 1, 3).await;
    let mut member = scene.member_with(|config| config.lease = Duration::from_secs(2)).await;
    scene.emit(&["again"]).await;
    let again = next(&mut member).await;
    assert_eq!(payload(&again), "again", "nobody has taken the other over yet");
    again.settle(retried(Duration::from_secs(5))).await;
    let alone = next(&mut member).await;
    assert_eq!((payload(&alone), alone.delivery.count), ("p".into(), 4));
    scene.emit(&["n"]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    nothing_comes(&mut member);
    alone.settle(Outcome::Done).await;
    let mut rest = Vec::new();
    while rest.len() < 2 {
        let held: Held = next(&mut member).await;
        rest.push(payload(&held));
        held.settle(Outcome::Done).await;
    }
    rest.sort();
    assert_eq!(rest, ["again", "n"]);
    scene.all_settled().await;
}

/// Whoever handles a request is told when its caller goes.
pub async fn end_early_when_the_caller_goes(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut member = scene.member().await;
    let client = scene.client();
    let mut call = Box::pin(client.request(&scene.topic, request("?").with_timeout(Duration::from_secs(60))));
    let held = tokio::select! {
        held = next(&mut member) => held,
        reply = &mut call => panic!("nobody replied: {reply:?}"),
    };
    assert!(!held.is_cancelled());
    drop(call);
    held.lease().cancelled().await;
    assert!(held.is_cancelled() && !held.is_lost());
    held.settle(Outcome::Done).await;
    scene.all_settled().await;
    assert!(entries(&scene.broker, &scene.topic.dead()).await.is_empty(), "taking back is no failure");
}

/// Suspects for which there is no place are given back again and again, and what nobody died of passes them by.
pub async fn do_not_wait_for_what_members_died_of(broker: SharedBroker) {
    let scene = Scene::new(broker);
    // Long, as the leaver has to be there and take the innocent one before the suspects are taken over.
    let lease = 10 * LEASE;
    scene.emit_many(60).await;
    crash(&scene, 60, 2).await;
    scene.emit(&["innocent"]).await;
    let mut leaver = scene.member_with(|config| (config.lease, config.concurrency) = (lease, 1)).await;
    let innocent = next(&mut leaver).await;
    assert_eq!(payload(&innocent), "innocent");
    let mut heir = scene.member_with(|config| (config.lease, config.concurrency) = (lease, 4)).await;
    let suspect = next(&mut heir).await;
    assert_eq!((payload(&suspect), suspect.delivery.count), ("0".into(), 3));
    eventually("suspects to be given back", async || {
        (scene.pending().await.iter().filter(|entry| &*entry.member == Membership::NOBODY).count() > 10).then_some(())
    })
    .await;
    innocent.hand_back();
    leaver.leave(Duration::from_secs(1)).await;
    assert_eq!(payload(&next(&mut heir).await), "innocent");
}
